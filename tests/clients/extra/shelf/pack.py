"""A battery pack of four cells with a JBD management system: answers its commands by notifications of 20 bytes."""
from served import Served

RX, TX = 3, 6


def word(*values):
    return b"".join((v & 0xFFFF).to_bytes(2, "big") for v in values)


# 13.24 V, -2.50 A, 42.00 of 50.00 Ah, 17 cycles, 84 %, both switches on, 4 cells, sensors of 21.5 and 22.0 degrees.
BASIC = word(1324, -250, 4200, 5000, 17, 0x2A41, 0, 0, 0) + bytes([0x23, 84, 3, 4, 2]) + word(2731 + 215, 2731 + 220)
ANSWERS = {3: BASIC, 4: word(3310, 3311, 3309, 3310), 5: b"JBD-SP04S020"}


class Pack(Served):
    def read(self, handle):
        return b""

    def write(self, handle, value):
        if handle != TX or len(value) != 7 or value[:2] != b"\xdd\xa5" or value[2] not in ANSWERS:
            return
        body = bytes([0, len(ANSWERS[value[2]])]) + ANSWERS[value[2]]
        frame = bytes([0xDD, value[2]]) + body + word(0x10000 - sum(body)) + b"\x77"
        for i in range(0, len(frame), 20):
            self.notify(RX, frame[i:i + 20])


Pack("pack").run()
