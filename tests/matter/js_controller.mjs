// Commissions Matter devices with matter.js's controller, its Bluetooth by noble on D-Bus (NOBLE_BINDINGS=dbus). Prints a line "@ WHAT …" for
// each step. On standard input, a line each: NODE DISCRIMINATOR PASSCODE.
import { createInterface } from "node:readline";
import { Environment, NodeId, singleton } from "@matter/main";
import { BasicInformation, GeneralCommissioning, OnOff } from "@matter/main/clusters";
import { Ble } from "@matter/main/protocol";
import { NodeJsBle } from "@matter/nodejs-ble";
import { CommissioningController } from "@project-chip/matter.js";

const say = (...what) => console.log("@", ...what);

Ble.get = singleton(() => new NodeJsBle({ environment: Environment.default }));
const controller = new CommissioningController({
  environment: { environment: Environment.default, id: "controller" }, autoConnect: false, adminFabricLabel: "test",
});
await controller.start();
say("ready");
for await (const line of createInterface({ input: process.stdin })) {
  const [node, longDiscriminator, passcode] = line.split(" ").map(Number);
  const begun = performance.now();
  try {
    const id = await controller.commissionNode({
      commissioning: {
        nodeId: NodeId(node), regulatoryLocation: GeneralCommissioning.RegulatoryLocationType.IndoorOutdoor, regulatoryCountryCode: "XX",
        wifiNetwork: { wifiSsid: "simulated", wifiCredentials: "password" },
      },
      discovery: { identifierData: { longDiscriminator }, discoveryCapabilities: { ble: true }, timeoutSeconds: 60 },
      passcode,
    });
    const took = ((performance.now() - begun) / 1000).toFixed(2);
    const client = await (await controller.getNode(id)).getInteractionClient();
    await client.invoke({ endpointId: 1, clusterId: OnOff.Cluster.id, command: OnOff.Cluster.commands.on, request: undefined });
    const on = await client.getAttribute({ endpointId: 1, clusterId: OnOff.Cluster.id, attribute: OnOff.Cluster.attributes.onOff, requestFromRemote: true });
    const serial = await client.getAttribute({ endpointId: 0, clusterId: BasicInformation.Cluster.id, attribute: BasicInformation.Cluster.attributes.serialNumber });
    say("commissioned", node, took, on, serial);
  } catch (error) {
    say("failed", node, error);
  }
}
say("end");
process.exit(0);
