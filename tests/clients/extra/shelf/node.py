"""A Meshtastic node: hands its configuration over, and acknowledges and echoes what it is sent, in the protobufs of the package itself."""
from meshtastic.protobuf import channel_pb2, config_pb2, mesh_pb2, module_config_pb2, portnums_pb2
from served import Served

FROM_RADIO, TO_RADIO, FROM_NUM = 3, 5, 7
NUMBER, PEER = 0x20000002, 0x20000099


class Node(Served):
    queue = []
    count = 0

    def put(self, **fields):
        self.count += 1
        self.queue.append(mesh_pb2.FromRadio(id=self.count, **fields).SerializeToString())

    def configure(self, wanted):
        self.put(my_info=mesh_pb2.MyNodeInfo(my_node_num=NUMBER, min_app_version=30200))
        for number, name in (NUMBER, "Hill"), (PEER, "Valley"):
            user = mesh_pb2.User(id="!%08x" % number, long_name=name, short_name=name[:4], hw_model=mesh_pb2.HardwareModel.TBEAM)
            self.put(node_info=mesh_pb2.NodeInfo(num=number, user=user, snr=7.5))
        self.put(channel=channel_pb2.Channel(index=0, role=channel_pb2.Channel.Role.PRIMARY))
        self.put(config=config_pb2.Config(lora=config_pb2.Config.LoRaConfig(region=config_pb2.Config.LoRaConfig.RegionCode.EU_868)))
        self.put(moduleConfig=module_config_pb2.ModuleConfig(mqtt=module_config_pb2.ModuleConfig.MQTTConfig(address="none")))
        self.put(config_complete_id=wanted)

    def read(self, handle):
        return self.queue.pop(0) if handle == FROM_RADIO and self.queue else b""

    def write(self, handle, value):
        m = mesh_pb2.ToRadio.FromString(value)
        if m.want_config_id:
            self.configure(m.want_config_id)
        elif m.packet.decoded.portnum == portnums_pb2.PortNum.TEXT_MESSAGE_APP:
            answer = mesh_pb2.MeshPacket(id=self.count + 1000, to=NUMBER)
            setattr(answer, "from", PEER)
            answer.decoded.portnum = portnums_pb2.PortNum.TEXT_MESSAGE_APP
            answer.decoded.payload = b"echo of " + m.packet.decoded.payload
            self.put(packet=answer)
            self.notify(FROM_NUM, self.count.to_bytes(4, "little"))


Node("node").run()
