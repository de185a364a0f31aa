package bluezshim

import "bluez-esphome/internal/dbusobj"

// interfaces are the descriptions that all objects of a Shim share.
type interfaces struct {
	adapter, monitorManager, advertisingManager *dbusobj.Interface
	device, bearer, battery, extension          *dbusobj.Interface
	service, char, desc                         *dbusobj.Interface
	agentManager, profileManager                *dbusobj.Interface
}

func newInterfaces(cfg Config) interfaces {
	return interfaces{
		adapter: newAdapterInterface(), monitorManager: newMonitorManagerInterface(), advertisingManager: newAdvertisingManagerInterface(),
		device: newDeviceInterface(), bearer: newBearerInterface(), battery: newBatteryInterface(), extension: newExtensionInterface(cfg),
		service: newServiceInterface(), char: newCharInterface(), desc: newDescInterface(),
		agentManager: newAgentManagerInterface(), profileManager: newProfileManagerInterface(),
	}
}
