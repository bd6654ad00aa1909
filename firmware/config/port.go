package config

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// SetPort sets how one network port gets its address. What it says is written as one block [[network.port]] in the place of the
// one that there was; comments inside of that one are lost, and all else stays.
func SetPort(dir string, p Port) (*Config, error) {
	var now *Config
	err := edit(dir, func(f *file) error {
		ports := &f.want.Box.Ports
		if i := slices.IndexFunc(*ports, func(old Port) bool { return old.Name == p.Name }); i >= 0 {
			begin, end, err := f.blockAt("network.port." + strconv.Itoa(i))
			if err != nil {
				return err
			}
			f.lines = slices.Delete(f.lines, begin, end)
			*ports = slices.Delete(*ports, i, i+1)
		}
		f.lines = append(f.lines, portBlock(p)...)
		*ports = append(*ports, p)
		now = f.want
		return nil
	})
	return now, err
}

// portBlock is a port as the file has it.
func portBlock(p Port) []string {
	lines := []string{"", "[[network.port]]", "name = " + strconv.Quote(p.Name)}
	if !p.Address.IsValid() {
		return append(lines, `address = "dhcp"`)
	}
	lines = append(lines, "address = "+strconv.Quote(p.Address.String()))
	if p.Gateway.IsValid() {
		lines = append(lines, "gateway = "+strconv.Quote(p.Gateway.String()))
	}
	if len(p.DNS) > 0 {
		var texts []string
		for _, a := range p.DNS {
			texts = append(texts, a.String())
		}
		lines = append(lines, "dns = "+quoted(texts))
	}
	return lines
}

// ParsePort checks a port as its owner has written it: address is "dhcp" or as in "192.168.1.10/24", dns a list of addresses with
// spaces or commas between. The error says what is wrong, for the owner.
func ParsePort(name, address, gateway, dns string) (Port, error) {
	c := checker{}
	p := c.port("port", rawPort{
		Name: name, Address: strings.TrimSpace(address), Gateway: strings.TrimSpace(gateway),
		DNS: strings.Fields(strings.ReplaceAll(dns, ",", " ")),
	})
	if len(c.errs) > 0 {
		var wrong *Error
		errors.As(c.errs[0], &wrong)
		return Port{}, fmt.Errorf("%s: %s", strings.TrimPrefix(wrong.Key, "port."), wrong.Text)
	}
	return p, nil
}
