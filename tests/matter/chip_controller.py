"""Commissions Matter devices with the CHIP SDK's own Python controller, over Bluetooth on D-Bus. Prints a line "@ WHAT …" for each step.

    chip_controller.py STORAGE PAA_FOLDER       then on standard input, a line each: NODE DISCRIMINATOR PASSCODE
"""
import asyncio
import os
import sys
import time

from chip import ChipStack
import chip.CertificateAuthority
import chip.clusters as Clusters
import chip.FabricAdmin
import chip.native


def say(*what):
    """One write: the SDK prints to the same pipe, in pieces."""
    os.write(1, ("\n@ %s\n" % " ".join(str(w) for w in what)).encode())


async def commission(controller, node, discriminator, passcode):
    begun = time.monotonic()
    try:
        await asyncio.wait_for(controller.ConnectBLE(discriminator, passcode, node), 150)
        took = time.monotonic() - begun
        await controller.SendCommand(node, 1, Clusters.OnOff.Commands.On())
        read = await controller.ReadAttribute(node, [(1, Clusters.OnOff.Attributes.OnOff), (0, Clusters.BasicInformation.Attributes.SerialNumber)])
        on = read[1][Clusters.OnOff][Clusters.OnOff.Attributes.OnOff]
        serial = read[0][Clusters.BasicInformation][Clusters.BasicInformation.Attributes.SerialNumber]
        say("commissioned", node, "%.2f" % took, on, serial)
    except Exception as e:
        say("failed", node, repr(e))


async def main():
    storage, paa = sys.argv[1:]
    chip.native.Init(bluetoothAdapter=0)
    stack = ChipStack.ChipStack(persistentStoragePath=os.path.join(storage, "chip.json"), enableServerInteractions=False)
    authorities = chip.CertificateAuthority.CertificateAuthorityManager(stack, stack.GetStorageManager())
    authority = authorities.NewCertificateAuthority()
    admin = authority.NewFabricAdmin(vendorId=0xFFF1, fabricId=1)
    controller = admin.NewController(nodeId=112233, paaTrustStorePath=paa)
    controller.SetWiFiCredentials("simulated", "password")
    say("ready")
    for line in iter(sys.stdin.readline, ""):
        node, discriminator, passcode = (int(x) for x in line.split())
        await commission(controller, node, discriminator, passcode)
    say("end")
    os._exit(0)  # the SDK's own shutdown waits for threads


asyncio.run(main())
