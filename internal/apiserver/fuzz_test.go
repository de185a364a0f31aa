package apiserver

import (
	"context"
	"io"
	"net"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"bluez-esphome/internal/apiwire"
	"bluez-esphome/internal/apiwire/apipb"
)

// FuzzServe sends a server whatever a client might: it has to end the session
// when the client goes, and nothing worse.
func FuzzServe(f *testing.F) {
	var seed []byte
	plain := apiwire.NewPlain(nil)
	for _, m := range []proto.Message{
		&apipb.HelloRequest{ClientInfo: "x", ApiVersionMinor: 19}, &apipb.AuthenticationRequest{}, &apipb.DeviceInfoRequest{},
		&apipb.SubscribeBluetoothLEAdvertisementsRequest{Flags: 1}, &apipb.BluetoothDeviceRequest{Address: 1, RequestType: 5},
		&apipb.BluetoothGATTWriteRequest{Address: 1, Handle: 1 << 20, Data: []byte{1}}, &apipb.DisconnectRequest{},
	} {
		var err error
		seed, err = plain.AppendMessage(seed, m)
		if err != nil {
			f.Fatal(err)
		}
	}
	f.Add(seed)
	f.Add([]byte{1, 0, 0, 1, 0, 49, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		client, server := net.Pipe()
		go func() { _, _ = io.Copy(io.Discard, client) }()
		ended := make(chan error, 1)
		go func() { ended <- Serve(context.Background(), server, modern(), &recorder{}) }()
		_, _ = client.Write(data) // the server may be gone before it has read all
		_ = client.Close()
		select {
		case err := <-ended:
			if err == nil {
				t.Error("the session ended without a reason")
			}
		case <-time.After(2 * time.Minute):
			t.Error("the session lives on")
		}
	})
}
