package proxysim

import (
	"fmt"
	"strconv"
	"strings"

	"bluez-esphome/internal/ble"
)

// DefaultVersion is the firmware that a proxy has unless it is told otherwise.
const DefaultVersion = "2026.10.0"

// firmware is an ESPHome release as year*100+month; it answers what that
// release does. The months are the first sampled releases that differ. What was measured, on the firmware's own
// code, was so on 2026.6.5 and 2026.10.0; anything else was only read in the sources of the sampled releases, and what
// says "taken" was neither: it is assumed to be as in the nearest release that is known.
type firmware int

func parseFirmware(version string) (firmware, error) {
	parts := strings.SplitN(version, ".", 3)
	if len(parts) >= 2 {
		year, err1 := strconv.Atoi(parts[0])
		month, err2 := strconv.Atoi(parts[1])
		if err1 == nil && err2 == nil && year >= 2022 && year < 10000 && month >= 1 && month <= 12 {
			return firmware(year*100 + month), nil
		}
	}
	return 0, fmt.Errorf("cannot parse ESPHome version %q: want YEAR.MONTH[.PATCH] from 2022 on", version)
}

// apiMinor is the minor version of API 1.
func (f firmware) apiMinor() uint32 {
	minor := uint32(6)
	for _, step := range []struct {
		from  firmware
		minor uint32
	}{
		{202210, 7}, {202305, 8}, {202306, 9}, {202406, 10}, {202508, 12}, {202511, 13},
		{202601, 14}, {202608, 15}, {202609, 16}, {202610, 19},
	} {
		if f >= step.from {
			minor = step.minor
		}
	}
	return minor
}

// features are the flags of an ESP32, with active connections or without.
func (f firmware) features(active bool) ble.Features {
	if f < 202306 {
		return 0 // field 15 did not exist
	}
	out := ble.FeaturePassiveScan | ble.FeatureRawAdvertisements
	if active {
		out |= ble.FeatureActiveConnections | ble.FeatureRemoteCaching | ble.FeaturePairing | ble.FeatureCacheClearing
	}
	if f >= 202505 {
		out |= ble.FeatureStateAndMode
	}
	if active && f >= 202603 {
		out |= ble.FeatureConnectionParams
	}
	return out
}

// legacyVersion is what API versions below 1.9 said instead of flags.
func (f firmware) legacyVersion(active bool) uint32 {
	switch {
	case f >= 202601: // new firmware does not send it
		return 0
	case !active || f < 202210:
		return 1
	case f < 202212:
		return 2
	case f < 202303:
		return 3
	case f < 202305:
		return 4
	}
	return 5
}

// newestSubscriberWins: a second subscriber takes the stream from the first;
// before, it was ignored.
func (f firmware) newestSubscriberWins() bool { return f >= 202607 }

// reportsTwice: a failed attempt, and the end of a link that the client did not ask for, are reported at DISCONNECT and
// again at CLOSE, which frees the slot (measured on 2026.6.5).
func (f firmware) reportsTwice() bool { return f >= 202508 && f <= 202607 }

// earlySlot: the slot is freed at DISCONNECT already, and CLOSE is reported for address 0.
func (f firmware) earlySlot() bool { return f < 202508 }

// unpairBy85: UNPAIR is answered with the message of PAIR.
func (f firmware) unpairBy85() bool { return f <= 202607 }

// answersPairWithoutLink: PAIR without a link is answered; before, it was not.
func (f firmware) answersPairWithoutLink() bool { return f >= 202608 }

// allocatedList: message 81 lists the allocated addresses.
func (f firmware) allocatedList() bool { return f >= 202502 }

// needsAddressType: a connect request without has_address_type is refused.
func (f firmware) needsAddressType() bool { return f >= 202509 }

// leaksSlots: the slot of such a request is lost until the device restarts (measured on 2026.6.5; before, taken); since
// 2026.8, a DISCONNECT or the sweep while nobody is subscribed frees it (measured on 2026.10.0).
func (f firmware) leaksSlots() bool { return f < 202608 }

// establishError is the code with which an attempt ends that found nobody.
func (f firmware) establishError() int32 {
	if f >= 202608 {
		return codeGATTError
	}
	return codeCancelled
}

// cancels: a DISCONNECT ends an attempt before the stack's own time is over (2026.8 and 2026.9 only read). That it
// does not was measured on 2026.6.5; before, taken.
func (f firmware) cancels() bool { return f >= 202608 }

// cancelsAtOnce: and it does so without delay (measured on 2026.10.0).
func (f firmware) cancelsAtOnce() bool { return f >= 202610 }

// staleMTU: a cached connection reports the MTU of the link that had the slot before (measured on 2026.6.5, read in
// 2026.7.4).
func (f firmware) staleMTU() bool { return f < 202608 }

// repeatsMTU: a request to connect a link that is up is answered with its MTU (measured on 2026.10.0), before with 0
// (measured on 2026.6.5).
func (f firmware) repeatsMTU() bool { return f >= 202608 }

// narrowsScan: while there is a link the scanner listens for 30 of 320 ms, and it restarts when the last link
// ends (measured on 2026.10.0).
func (f firmware) narrowsScan() bool { return f >= 202608 }

// flushesEveryOtherTick: partial batches wait for every other tick, on Wi-Fi (measured on both).
func (f firmware) flushesEveryOtherTick() bool { return f >= 202608 }

// legacyConnect: request type 0 connects.
func (f firmware) legacyConnect() bool { return f < 202508 }

// restartsServices: message 70 during the stream starts it anew.
func (f firmware) restartsServices() bool { return f >= 202608 }

// batchedServices: several services share a message 71, and UUIDs may be short.
func (f firmware) batchedServices() bool { return f >= 202508 }

// alwaysRaw: advertisements are raw whatever the subscriber asked for.
func (f firmware) alwaysRaw() bool { return f >= 202508 }

// hasConfiguredMode: message 126 tells the mode of the configuration.
func (f firmware) hasConfiguredMode() bool { return f >= 202509 }

// hasBluetoothMAC: device info tells the radio's address.
func (f firmware) hasBluetoothMAC() bool { return f >= 202505 }

// authOnHello: without a password the hello authenticates.
func (f firmware) authOnHello() bool { return f >= 202508 }

// passwords: message 3 is looked at.
func (f firmware) passwords() bool { return f < 202601 }

// batch is how many advertisements make a message 93.
func (f firmware) batch() int {
	if f >= 202507 {
		return 16
	}
	return 8
}

// zeroKey: a device that waits for its key takes Noise with the key of zeros, and says that one may be set.
func (f firmware) zeroKey() bool { return f >= 202608 }

// apiClients is how many API connections there may be.
func (f firmware) apiClients() int {
	if f >= 202511 && f < 202606 {
		return 8
	}
	return 5
}
