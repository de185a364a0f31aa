package apiconn

import (
	"context"
	"encoding/base64"
	"errors"

	"bluez-esphome/internal/apiwire"
	"bluez-esphome/internal/apiwire/apipb"
)

// ErrNotProvisionable: the device takes no key: it was built without encryption, or its configuration has the key.
var ErrNotProvisionable = errors.New("the device takes no key from clients: its ESPHome configuration has no api: encryption:, or has the key itself; put that key into noise_psk_file")

// ErrKeyRefused: the device did not take the key.
var ErrKeyRefused = errors.New("the device refused the key: it has one already, or the time in which it takes one is over; restart it and try again")

// SetKey connects to the proxy of cfg once and gives it an encryption key (messages 124 and 125 of the native API).
// From then on it answers only to clients that have that key. Handler and OnConflict are not used. Besides the two
// errors above, errors are those of a Proxy's attempts; sent says whether the device may have the key although its
// answer did not come.
func SetKey(ctx context.Context, cfg Config, key [apiwire.KeySize]byte) (sent bool, err error) {
	cfg.Handler, cfg.OnConflict = nobody{}, Retake // this is in nobody's way
	p, err := New(cfg)
	if err != nil {
		return false, err
	}
	conn, err := p.dial(ctx)
	if err != nil {
		return false, err
	}
	_ = p.begin() // a new Proxy can be begun
	defer close(p.ended)
	s := newSession(p, conn)
	if err := s.open(ctx); err != nil {
		return false, err
	}
	err = s.setKey(key)
	s.unhook()
	s.end(ErrStopped)
	return !errors.Is(err, ErrNotProvisionable) && !errors.Is(err, ErrKeyRefused), err
}

func (s *session) setKey(key [apiwire.KeySize]byte) error {
	if !s.info.EncryptionProvisionable {
		return ErrNotProvisionable
	}
	s.w.post(&apipb.NoiseEncryptionSetKeyRequest{Key: []byte(base64.StdEncoding.EncodeToString(key[:]))})
	m, err := s.await(apiwire.NoiseEncryptionSetKeyResponse, simpleTimeout)
	if err != nil {
		return err
	}
	if !m.(*apipb.NoiseEncryptionSetKeyResponse).GetSuccess() {
		return ErrKeyRefused
	}
	return nil
}
