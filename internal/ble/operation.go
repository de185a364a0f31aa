package ble

import "fmt"

// OperationKind says what an Operation does to its attribute.
type OperationKind uint8

// The GATT operations that a proxy offers on one attribute (ESPHome native API, messages 73 to 77).
const (
	// OpRead reads a characteristic's value, as long as it is.
	OpRead OperationKind = iota
	// OpReadDescriptor reads a descriptor.
	OpReadDescriptor
	// OpWrite writes a characteristic's value with response; the proxy splits long values.
	OpWrite
	// OpWriteCommand writes a characteristic's value without response. It ends when the value was handed over in order.
	OpWriteCommand
	// OpWriteDescriptor writes a descriptor with response.
	OpWriteDescriptor
)

var operationNames = [...]string{"Read", "ReadDescriptor", "Write", "WriteCommand", "WriteDescriptor"}

func (k OperationKind) String() string {
	if int(k) < len(operationNames) {
		return operationNames[k]
	}
	return fmt.Sprintf("OperationKind(%d)", uint8(k))
}

// Reads reports whether the operation gives a value.
func (k OperationKind) Reads() bool { return k == OpRead || k == OpReadDescriptor }

// Answered reports whether the peripheral answers, and so may refuse or ask for an encrypted link.
func (k OperationKind) Answered() bool { return k != OpWriteCommand }

// Operation is one GATT operation on one attribute of a peripheral. It is a value: whoever is on its way, a front, the
// owners of a link, the queue of a link, passes it on without knowing the kinds.
type Operation struct {
	Kind OperationKind
	// Handle is the attribute's: that of the value for a characteristic, 0x0001…0xffff.
	Handle uint16
	// Value is what to write, 0…MaxAttribute bytes. It must not be modified afterwards.
	Value []byte
	// Table is the database from which the caller knows the handle; nil: that which it was told last. An operation on what
	// is another attribute by now is refused.
	Table *Database
}
