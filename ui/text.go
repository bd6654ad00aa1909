package ui

import "fmt"

// Each of these is written as a word where a State becomes text.

// MarshalText implements encoding.TextMarshaler.
func (a Answer) MarshalText() ([]byte, error) { return word(a, "unknown", "yes", "no") }

// MarshalText implements encoding.TextMarshaler.
func (h Health) MarshalText() ([]byte, error) { return word(h, "unknown", "good", "warning", "failed") }

// MarshalText implements encoding.TextMarshaler.
func (p Phase) MarshalText() ([]byte, error) {
	return word(p, "waiting", "preparing", "asking", "issuing", "paired", "refused")
}

// MarshalText implements encoding.TextMarshaler.
func (k Keys) MarshalText() ([]byte, error) { return word(k, "unknown", "sealed", "disk", "resident") }

func (a Answer) String() string { return text(a) }
func (h Health) String() string { return text(h) }
func (p Phase) String() string  { return text(p) }
func (k Keys) String() string   { return text(k) }

func word[T ~uint8](v T, words ...string) ([]byte, error) {
	if int(v) < len(words) {
		return []byte(words[v]), nil
	}
	return []byte(words[0]), nil
}

func text(v interface{ MarshalText() ([]byte, error) }) string {
	b, _ := v.MarshalText() // knows no error
	return string(b)
}

// Where is how the box is called from outside: by its name, or else its address, and the port unless it is 443. "": not known.
func (r Reach) Where() string {
	where := r.Name
	if where == "" && r.Address.IsValid() {
		where = r.Address.String()
	}
	if where != "" && r.Port != 0 && r.Port != 443 {
		where += fmt.Sprintf(", UDP port %d", r.Port)
	}
	return where
}

// Size writes a size with three digits, in powers of 1000 as on the disk's box.
func Size(n int64) string {
	if n < 1000 {
		return fmt.Sprintf("%d B", max(n, 0))
	}
	f, unit := float64(n), ""
	for _, unit = range []string{"kB", "MB", "GB", "TB", "PB", "EB"} {
		if f /= 1000; f < 999.5 {
			break
		}
	}
	if f < 9.95 {
		return fmt.Sprintf("%.1f %s", f, unit)
	}
	return fmt.Sprintf("%.0f %s", f, unit)
}
