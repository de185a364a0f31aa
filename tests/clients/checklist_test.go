package clients

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bluez-esphome/tests/harness"
)

// checklist says for each rule that clients depend on where it is tested, as folder.Test.
var checklist = []struct {
	rule  string
	tests string
}{
	{"Paths have BlueZ's form, nothing else is below an adapter, device or service; Handle is the path's number", "tests.TestTree"},
	{"A parent comes before its children, Adapter1 first of an adapter's interfaces, dictionaries in order", "internal/dbusobj.TestManagedObjectsOrder internal/dbusobj.TestEncoderOrder"},
	{"Introspection is live and complete, and lists what GetManagedObjects does", "internal/dbusobj.TestIntrospectionIsLive tests.TestTree tests/replay.TestIntrospection"},
	{"Errors of unknown objects, methods, interfaces, properties and wrong types", "internal/dbusobj.TestErrorsAreThoseOfGdbus tests/replay.TestMatrix"},
	{"Pending signals go out before a reply, changes of one object as one signal", "internal/dbusobj.TestSignalsComeBeforeTheReply internal/dbusobj.TestSignals"},
	{"Calls of one client take effect in their order", "internal/dbusobj.TestArrivalOrder tests/connections.TestPipelinedWrites tests.TestPipelined"},
	{"A client that leaves takes discovery, filter, notifications, agent, pairing and monitors along, and no link", "tests.TestClientLeaves internal/bluezshim.TestPresetFilterGoesWithItsClient internal/bluezshim.TestMonitors internal/bluezshim.TestCancelPairing internal/bluezshim.TestClientsDoNotOwnLinks"},
	{"Connected=true, Connect's reply, the GATT objects, ServicesResolved=true, in this order", "internal/bluezshim.TestConnectOrder tests/replay.TestReplay"},
	{"On a loss ServicesResolved=false, Disconnected, Connected=false, Disconnect's reply", "internal/bluezshim.TestDisconnect"},
	{"GATT objects outlive the link with the same paths; reads then fail, StartNotify waits", "internal/bluezshim.TestGattWithoutLink tests/replay.TestReplay"},
	{"The first InterfacesAdded of a device has the advertisement; later changes are partial", "internal/bluezshim.TestDeviceAppearsComplete internal/bluezshim.TestReports"},
	{"RSSI and TxPower are invalidated when discovery ends, and Get of them fails with InvalidArgs", "internal/bluezshim.TestEndOfDiscovery tests/replay.TestMatrix"},
	{"Discovering is false when no client discovers; stopping by another client changes nothing", "internal/bluezshim.TestDiscoverySessions tests/replay.TestMatrix"},
	{"Alias is always there; addresses upper-case, UUIDs lower-case and 128 bit, UUIDs empty rather than absent", "tests.TestTree internal/bluezshim.TestNamelessAlias"},
	{"ManufacturerData, ServiceData and Value have BlueZ's types", "tests.TestTree"},
	{"AcquireNotify and AcquireWrite: SEQPACKET, one packet a value, end of file at the link's end", "internal/bluezshim.TestAcquireNotify internal/bluezshim.TestAcquireWrite internal/bluezshim.TestPipesEnd"},
	{"Value is signalled for every notification, equal or not, and for every read before its reply", "internal/bluezshim.TestNotify internal/bluezshim.TestReadValue"},
	{"A write command returns at once, a request after the response; a second write is InProgress, reads are shared", "internal/bluezshim.TestWriteValue internal/bluezshim.TestWriteInProgress internal/bluezshim.TestReadsAreShared"},
	{"MTU is the ATT MTU", "internal/bluezshim.TestGattProperties tests.TestBleak"},
	{"A device is there while anything of it is pending", "internal/bluezshim.TestRemoveConnecting internal/bluezshim.TestStopDiscoveryWhileConnecting"},
	{"The adapter of an offline proxy stays, Powered=false; numbers are single digits and stable", "internal/bluezshim.TestAdapterOfAnOfflineProxy tests/air.TestAdaptersOfProxies"},
	{"ATT errors and their texts", "internal/bluezshim.TestAttErrors tests/replay.TestMatrix"},
	{"A second client's Connect succeeds at once, its Disconnect ends the link for all", "internal/bluezshim.TestClientsDoNotOwnLinks tests/connections.TestTwoClients"},
	{"GetManagedObjects with a thousand devices is fast", "internal/dbusobj.TestManagedObjectsOfMany"},
	{"One-shot runs of bluetoothctl end with their result, not with RegisterMonitor's; other programs get that answer at once", "tests/clients.TestOneShot internal/bluezshim.TestMonitorRootInEveryOrder internal/bluezshim.TestHeldMonitorRoot"},
	{"Pair answers once services are resolved", "internal/bluezshim.TestPairOrder"},
	{"--version prints a BlueZ version, as Qt wants of the owner of org.bluez", "tests.TestVersion"},
}

// TestChecklist: every test that the list names is there.
func TestChecklist(t *testing.T) {
	t.Parallel()
	sources := map[string]string{} // by folder
	for _, c := range checklist {
		for name := range strings.FieldsSeq(c.tests) {
			dir, test, _ := strings.Cut(name, ".")
			if sources[dir] == "" {
				files, err := filepath.Glob(filepath.Join(harness.Path(t, dir), "*_test.go"))
				if err != nil {
					t.Fatal(err)
				}
				for _, f := range files {
					b, err := os.ReadFile(f)
					if err != nil {
						t.Fatal(err)
					}
					sources[dir] += string(b)
				}
			}
			if !strings.Contains(sources[dir], "\nfunc "+test+"(t *testing.T) {") {
				t.Errorf("%q: there is no %s", c.rule, name)
			}
		}
	}
}

// rules renders the list.
func rules() string {
	var b strings.Builder
	b.WriteString("\n## What clients depend on, and where it is tested\n\n| rule | tests |\n| --- | --- |\n")
	for _, c := range checklist {
		fmt.Fprintf(&b, "| %s | `%s` |\n", c.rule, strings.ReplaceAll(c.tests, " ", "`, `"))
	}
	return b.String()
}
