package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"bluez-esphome/internal/apiconn"
	"bluez-esphome/internal/apiwire"
	"bluez-esphome/internal/config"

	"github.com/spf13/cobra"
)

// provisionTimeout bounds the whole conversation with the device.
const provisionTimeout = 30 * time.Second

func newProvision() *cobra.Command {
	var path, file string
	c := &cobra.Command{
		Use: "provision PROXY", Short: "give a proxy without a key its encryption key",
		Long: `provision makes an encryption key, writes it to a file that only its owner can read, and gives it to a proxy of the configuration, named by its
name or host, that was built with encryption and has no key yet (from ESPHome 2027.2 on such a device does not answer any more). The file
is PROXY.key beside the configuration, or that of --key-file, and must not exist yet. The key is not printed.`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return &usageError{fmt.Errorf("provision wants the name of one proxy, but got %q", args)}
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			cfg, err := loadConfig(path)
			if err != nil {
				return err
			}
			i := slices.IndexFunc(cfg.Proxies, func(p config.Proxy) bool { return p.Name == args[0] || p.Name == "" && p.Host == args[0] })
			if i < 0 {
				return fmt.Errorf("the configuration has no proxy with the name or host %q", args[0])
			}
			if cfg.Proxies[i].NoisePSK.IsSet() {
				return fmt.Errorf("%q has a key in the configuration already", args[0])
			}
			if file == "" {
				file = filepath.Join(filepath.Dir(path), config.PathElement(args[0])+".key")
			}
			return provision(c.Context(), c.OutOrStdout(), cfg.Proxies[i], file)
		},
	}
	c.ValidArgsFunction = completeProxies
	c.Flags().StringVar(&path, "config", config.DefaultPath, "configuration file")
	c.Flags().StringVar(&file, "key-file", "", "file to write the key to; PROXY.key beside the configuration if not given")
	return c
}

// provision keeps the key before the device has it: a key that is lost can only be replaced over the device's cable.
func provision(ctx context.Context, out io.Writer, p config.Proxy, file string) error {
	var key [apiwire.KeySize]byte
	_, _ = rand.Read(key[:]) // never fails
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("cannot write the key: %w", err)
	}
	_, err = io.WriteString(f, base64.StdEncoding.EncodeToString(key[:])+"\n")
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return errors.Join(fmt.Errorf("cannot write the key: %w", err), os.Remove(file))
	}
	ctx, cancel := context.WithTimeout(ctx, provisionTimeout)
	defer cancel()
	ac := apiconn.Config{Name: p.Name, Address: address(p), Password: p.Password.Reveal(), ClientInfo: "bluez-esphome provision"}
	if p.HasMAC {
		ac.ExpectMAC = p.MAC.String()
	}
	sent, err := apiconn.SetKey(ctx, ac, key)
	switch {
	case err != nil && sent:
		return fmt.Errorf("%w; the device may have taken the key all the same: it is kept in %s", err, file)
	case err != nil:
		return errors.Join(err, os.Remove(file))
	}
	_, err = fmt.Fprintf(out, "the proxy has its key, which is in %s; add to its entry in the configuration:\n    noise_psk_file: %s\nand reload\n", file, file)
	return err
}
