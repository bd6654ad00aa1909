package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/postern-nas/postern/firmware/audit"
	"github.com/postern-nas/postern/firmware/config"
	"github.com/postern-nas/postern/ui/web"
)

// setting is one value of postern.toml that the page shows.
type setting struct {
	web.Setting
	table, key string
	get        func(*config.Config) string
	on         string // where it is: "box" on a machine that runs nothing else, "panel" with one; "": everywhere
	now        bool   // it counts at once; else from the next start on
}

func truth(on bool) string  { return strconv.FormatBool(on) }
func level(v string) string { return strings.ToLower(v) }

// settings are in the order of the page.
var pageSettings = []setting{
	{web.Setting{Key: "name", Group: "name", Kind: web.KindText}, "", "name", func(c *config.Config) string { return c.Name }, "", false},
	{web.Setting{Key: "names", Group: "name", Kind: web.KindText}, "", "names", func(c *config.Config) string { return strings.Join(c.Names[1:], " ") }, "", false},
	{web.Setting{Key: "tcp", Group: "network", Kind: web.KindText}, "tcp", "listen", func(c *config.Config) string { return c.TCP }, "", false},
	{web.Setting{Key: "encryption", Group: "network", Kind: web.KindSwitch}, "tcp", "require_encryption", func(c *config.Config) string { return truth(c.RequireEncryption) }, "", false},
	{web.Setting{Key: "linux", Group: "network", Kind: web.KindSwitch}, "tcp", "linux_clients", func(c *config.Config) string { return truth(c.LinuxClients) }, "", false},
	{web.Setting{Key: "mapping", Group: "network", Kind: web.KindSwitch}, "network", "port_mapping", func(c *config.Config) string { return truth(c.Box.PortMapping) }, "", false},
	{web.Setting{Key: "discovery", Group: "network", Kind: web.KindChoice, Choices: []string{"auto", "on", "off"}}, "network", "discovery", func(c *config.Config) string { return string(c.Box.Discovery) }, "", false},
	{web.Setting{Key: "client_certificate", Group: "access", Kind: web.KindChoice, Choices: []string{"paired", "always", "never"}}, "access", "client_certificate", func(c *config.Config) string { return string(c.Access.Rule.Certificate) }, "", true},
	{web.Setting{Key: "any_trusted", Group: "access", Kind: web.KindSwitch}, "access", "any_trusted", func(c *config.Config) string { return truth(c.Access.Rule.Trusted) }, "", true},
	{web.Setting{Key: "named_pipes", Group: "access", Kind: web.KindChoice, Choices: []string{"paired", "all", "none"}}, "access", "named_pipes", func(c *config.Config) string { return string(c.Access.Rule.Pipes) }, "", true},
	{web.Setting{Key: "servers", Group: "time", Kind: web.KindText}, "time", "servers", func(c *config.Config) string { return strings.Join(c.Box.TimeServers, " ") }, "box", false},
	{web.Setting{Key: "zone", Group: "time", Kind: web.KindChoice, Choices: append([]string{""}, config.Zones()...)}, "time", "zone", func(c *config.Config) string { return c.Box.Zone }, "", true},
	{web.Setting{Key: "dim", Group: "panel", Kind: web.KindSwitch}, "panel", "dim", func(c *config.Config) string { return truth(c.Box.Panel.Dim) }, "panel", true},
	{web.Setting{Key: "dim_minutes", Group: "panel", Kind: web.KindNumber}, "panel", "dim_minutes", func(c *config.Config) string { return strconv.Itoa(c.Box.Panel.DimMinutes) }, "panel", true},
	{web.Setting{Key: "off_minutes", Group: "panel", Kind: web.KindNumber}, "panel", "off_minutes", func(c *config.Config) string { return strconv.Itoa(c.Box.Panel.OffMinutes) }, "panel", true},
	{web.Setting{Key: "upside_down", Group: "panel", Kind: web.KindSwitch}, "panel", "upside_down", func(c *config.Config) string { return truth(c.Box.Panel.UpsideDown) }, "panel", true},
	{web.Setting{Key: "outside", Group: "page", Kind: web.KindSwitch}, "page", "outside", func(c *config.Config) string { return truth(c.PageOutside) }, "", false},
	{web.Setting{Key: "log", Group: "log", Kind: web.KindChoice, Choices: []string{"error", "warn", "info", "debug"}}, "log", "level", func(c *config.Config) string { return level(c.LogLevel.String()) }, "", false},
}

// houseSettings implements web.Settings.
type houseSettings struct {
	h          *house
	box, panel bool
}

// has says whether this machine has it.
func (s *houseSettings) has(one setting) bool {
	return one.on == "" || one.on == "box" && s.box || one.on == "panel" && s.panel
}

// Settings implements web.Settings: what the file says, not what is in use.
func (s *houseSettings) Settings(context.Context) ([]web.Setting, error) {
	cfg, err := config.Load(s.h.state)
	if err != nil {
		return nil, err
	}
	var all []web.Setting
	for _, one := range pageSettings {
		if !s.has(one) {
			continue
		}
		one.Value = one.get(cfg)
		if one.Kind == web.KindChoice && !slices.Contains(one.Choices, one.Value) { // the file may know others
			one.Choices = append(slices.Clone(one.Choices), one.Value)
		}
		all = append(all, one.Setting)
	}
	return all, nil
}

// Set implements web.Settings.
func (s *houseSettings) Set(ctx context.Context, values map[string]string) (restart bool, err error) {
	var changes []config.Setting
	var told []string
	for _, one := range pageSettings {
		v, ok := values[one.Key]
		if !ok || !s.has(one) {
			continue
		}
		change := config.Setting{Table: one.table, Key: one.key}
		switch {
		case one.Key == "names" || one.Key == "servers":
			change.Value = strings.Fields(strings.ReplaceAll(v, ",", " "))
		case one.Kind == web.KindNumber:
			n, err := strconv.Atoi(v)
			if err != nil {
				return false, fmt.Errorf("%q is no number; write it in digits", v)
			}
			change.Value = n
		case one.Kind == web.KindSwitch:
			change.Value = v == "true"
		default:
			change.Value = v
		}
		restart = restart || !one.now
		changes = append(changes, change)
		told = append(told, fmt.Sprintf("%s = %s", one.Key, v))
	}
	if len(changes) == 0 {
		return false, nil
	}
	s.h.mu.Lock()
	defer s.h.mu.Unlock()
	now, err := config.Set(s.h.state, changes...)
	if err != nil {
		return false, err
	}
	s.h.w.chosen.Store(&now.Box)
	s.h.w.nudge()
	s.h.w.record(ctx, audit.Event{ID: audit.ConfigChanged, OK: true, Text: strings.Join(told, "; ")})
	if slices.ContainsFunc(changes, func(c config.Setting) bool { return c.Table == "access" }) {
		return restart, s.h.applyAccess(ctx, now.Access)
	}
	return restart, nil
}
