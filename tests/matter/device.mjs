// A Matter light, its Bluetooth on a simulated peripheral (bleno.cjs), with the certificates that matter.js has for tests. Prints a line
// "@ WHAT" for what happens to it.
//   device.mjs PORT DISCRIMINATOR PASSCODE
import Module, { createRequire } from "node:module";
import { Endpoint, Environment, Logger, ServerNode, singleton, VendorId } from "@matter/main";
import { NetworkCommissioningServer } from "@matter/main/behaviors/network-commissioning";
import { NetworkCommissioning } from "@matter/main/clusters/network-commissioning";
import { OnOffLightDevice } from "@matter/main/devices/on-off-light";
import { Ble } from "@matter/main/protocol";
import { NodeJsBle } from "@matter/nodejs-ble";

const load = Module._load;
const bleno = () => createRequire(import.meta.url)("./bleno.cjs");
Module._load = (request, ...rest) => (request === "@stoprocent/bleno" ? bleno() : load(request, ...rest));

const [port, discriminator, passcode] = process.argv.slice(2).map(Number);
const say = (...what) => console.log("@", ...what);

Ble.get = singleton(() => new NodeJsBle({ environment: Environment.default }));
// Its Wi-Fi takes any network and its password; the way to it is the cable of the test.
class WiFi extends NetworkCommissioningServer.with("WiFiNetworkInterface") {
  #status(ssid, networkingStatus = NetworkCommissioning.NetworkCommissioningStatus.Success) {
    Object.assign(this.state, { lastNetworkingStatus: networkingStatus, lastNetworkId: ssid, lastConnectErrorValue: null });
    return { networkingStatus, networkIndex: 0 };
  }

  scanNetworks({ ssid }) {
    const found = { security: { wpa2Personal: true }, ssid: ssid ?? Buffer.from("simulated"), bssid: Buffer.alloc(6, 2), channel: 1, rssi: -50 };
    return { ...this.#status(null), wiFiScanResults: [found] };
  }

  addOrUpdateWiFiNetwork({ ssid, credentials }) {
    say("wifi", Buffer.from(ssid).toString(), Buffer.from(credentials).toString());
    this.state.networks = [{ networkId: ssid, connected: false }];
    return this.#status(ssid);
  }

  removeNetwork({ networkId }) {
    this.state.networks = [];
    return this.#status(networkId);
  }

  connectNetwork({ networkId }) {
    this.state.networks = [{ networkId, connected: true }];
    return { ...this.#status(networkId), errorValue: null };
  }

  reorderNetwork({ networkId }) {
    return this.#status(networkId);
  }
}

const root = ServerNode.RootEndpoint.with(WiFi);
const node = await ServerNode.create(root, {
  id: "light",
  network: { port, ble: true, discoveryCapabilities: { ble: true, onIpNetwork: false } }, // on the network it is found once it is in a fabric
  commissioning: { passcode, discriminator },
  networkCommissioning: {
    maxNetworks: 1, networks: [], interfaceEnabled: true, lastConnectErrorValue: null, lastNetworkId: null, lastNetworkingStatus: null,
    scanMaxTimeSeconds: 3, connectMaxTimeSeconds: 3, supportedWiFiBands: [NetworkCommissioning.WiFiBand["2G4"]],
  },
  productDescription: { name: "Light", deviceType: OnOffLightDevice.deviceType },
  basicInformation: { vendorName: "bluez-esphome", vendorId: VendorId(0xfff1), productName: "Light", productId: 0x8000, serialNumber: `light-${discriminator}`, uniqueId: `${discriminator}` },
});
const light = new Endpoint(OnOffLightDevice, { id: "light" });
await node.add(light);
light.events.onOff.onOff$Changed.on(on => say("light", on ? "on" : "off"));
node.lifecycle.commissioned.on(() => say("commissioned"));
node.lifecycle.online.on(() => say("online"));
await node.run();
