package stream

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"bluez-esphome/tests/harness"
)

// sensors are a RuuviTag, a Tuya thermometer that speaks BTHome and a Xiaomi LYWSDCGQ, each heard by one proxy only.
const sensors = `{"devices": [
 {"id": "ruuvi", "address": "CB:B8:33:4C:88:4F", "address_type": "random", "rssi": {"kitchen": -55},
  "advertisement": {"raw_advertisement": "0201061bff99040512fc5394c37c0004fffc040cac364200cdcbb8334c884f", "interval_ms": 200}},
 {"id": "bthome", "address": "A4:C1:38:56:53:84", "rssi": {"hall": -60},
  "advertisement": {"raw_advertisement": "0201061116d2fc4000be016402ca0903bf130cb80b050954484231", "interval_ms": 200}},
 {"id": "xiaomi", "address": "58:2D:34:33:AA:DF", "rssi": {"hall": -70},
  "advertisement": {"raw_advertisement": "020106151695fe5020aa0194dfaa33342d580d1004de00dd01", "interval_ms": 200}}]}`

// TestTheengs: an unmodified Theengs Gateway publishes the readings of sensors that only proxies hear. It has no
// Bluetooth and no org.bluez, since the daemon serves no bus. Broker, daemon and gateway run in a network namespace.
func TestTheengs(t *testing.T) {
	if !harness.Isolated(t) {
		return
	}
	python := harness.Path(t, ".venv-theengs", "bin", "python")
	if exec.Command(python, "-c", "import TheengsGateway").Run() != nil {
		t.Skip("Theengs Gateway is not installed (make test-stream)")
	}
	b := mosquitto(t, "")
	_, at := harness.Simulate(t, air(t, sensors), "kitchen=127.0.0.1:0", "hall=127.0.0.1:0")
	place := harness.NewPlace(t)
	theengs := harness.Start(t, append(place.Env(), "DBUS_SYSTEM_BUS_ADDRESS=unix:path="+filepath.Join(place.Dir, "none")), python, "-m", "TheengsGateway",
		"-H", "127.0.0.1", "-P", fmt.Sprint(b.port), "-b", "0", "-D", "0", "-ll", "INFO")
	theengs.Err.Expect(t, `Subscribed to home/\+/BTtoMQTT/undecoded`)
	readings := b.reader(t, "home/TheengsGateway/BTtoMQTT/#")

	config := filepath.Join(place.Dir, "config.yaml")
	if err := os.WriteFile(config, fmt.Appendf(nil, `
proxies: [{name: kitchen, address: "%s"}, {name: hall, address: "%s"}]
stream: {mqtt: {url: "mqtt://127.0.0.1:%d", format: undecoded, site: house, at_least_every: 1s}}
`, at["kitchen"], at["hall"], b.port), 0o600); err != nil {
		t.Fatal(err)
	}
	harness.Start(t, place.Env(), harness.Binary(), "run", "--config", config, "--bus", "none")
	for _, want := range []string{
		`BTtoMQTT/CBB8334C884F \{.*"model_id": "RuuviTag_RAWv2".*"tempc": 24.3.*"hum": 53.49`,
		`BTtoMQTT/A4C138565384 \{.*"model_id": "THB1.*"tempc": 25.06.*"hum": 50.55`,
		`BTtoMQTT/582D3433AADF \{.*"model_id": "LYWSDCGQ.*"tempc": 22.2.*"hum": 47.7`,
	} {
		readings.Out.Expect(t, want)
	}
}
