package config

import (
	"strings"
	"testing"
	"time"
)

func TestUpdateKeys(t *testing.T) {
	parse := func(lines string) (*Config, error) {
		return Parse("f.toml", []byte("version = 1\n[update]\n"+lines), t.TempDir())
	}
	cfg, err := parse(`feed = "http://192.168.1.2:8000/feed"
every = "90m"
automatic = true
at = ""
trial = "10s"
tries = 1`)
	want := Update{Feed: "http://192.168.1.2:8000/feed", Every: 90 * time.Minute, Automatic: true, Trial: 10 * time.Second, Tries: 1}
	if err != nil || cfg.Update != want {
		t.Errorf("%+v (%v)", cfg, err)
	}
	for line, says := range map[string]string{
		`feed = "http://example.org/x"`: "neither an https:// address",
		`feed = "ftp://10.0.0.1/"`:      "neither an https:// address",
		`feed = "x"`:                    "neither an https:// address",
		`every = "often"`:               `"often" is no time`,
		`every = "1s"`:                  `"1s" is no time from 5s`,
		`trial = "48h"`:                 `"48h" is no time`,
		`at = "25:00"`:                  `"25:00" is no time of day`,
		`tries = 4`:                     "tries",
	} {
		if _, err := parse(line); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", line, err)
		}
	}
}
