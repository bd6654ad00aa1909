package storage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// report is what we read of smartctl's JSON (smartctl(8), --json; the attributes that foretell a failure are those that
// Backblaze's disk statistics single out: 5, 187, 197, 198).
type report struct {
	Smartctl struct {
		Messages []struct{ String, Severity string }
	}
	ModelName    string                             `json:"model_name"`
	SerialNumber string                             `json:"serial_number"`
	SmartSupport *struct{ Available, Enabled bool } `json:"smart_support"`
	SmartStatus  *struct{ Passed *bool }            `json:"smart_status"`
	Temperature  struct{ Current float64 }
	PowerOnTime  struct{ Hours int64 } `json:"power_on_time"`
	Attributes   struct {
		Table []struct {
			ID         int
			WhenFailed string `json:"when_failed"`
			Name       string
			Raw        struct{ Value int64 }
		}
	} `json:"ata_smart_attributes"`
	NVMe *struct {
		CriticalWarning int   `json:"critical_warning"`
		AvailableSpare  int   `json:"available_spare"`
		SpareThreshold  int   `json:"available_spare_threshold"`
		PercentageUsed  int   `json:"percentage_used"`
		MediaErrors     int64 `json:"media_errors"`
	} `json:"nvme_smart_health_information_log"`
}

// foretell are ATA attributes whose count should be zero, and what it counts.
var foretell = map[int]string{
	5: "sectors replaced", 187: "errors that it could not correct", 197: "sectors that cannot be read", 198: "sectors that cannot be read",
}

var errAsleep = errors.New("the disk sleeps")

// readReport judges what smartctl said of a disk.
func readReport(out []byte, warnCelsius float64) (d Disk, err error) {
	var r report
	if err := json.Unmarshal(out, &r); err != nil {
		return d, fmt.Errorf("smartctl: %w", err)
	}
	for _, m := range r.Smartctl.Messages {
		if strings.Contains(m.String, "STANDBY") || strings.Contains(m.String, "SLEEP") {
			return d, errAsleep
		}
	}
	d.Model, d.ID = printable(r.ModelName), printable(r.SerialNumber)
	d.Celsius, d.Hours = r.Temperature.Current, r.PowerOnTime.Hours
	var bad, doubtful []string
	if s := r.SmartStatus; s != nil && s.Passed != nil {
		d.Health = Good
		if !*s.Passed {
			bad = append(bad, "it says of itself that it is failing")
		}
	}
	for _, a := range r.Attributes.Table {
		words := foretell[a.ID]
		switch {
		case a.WhenFailed == "now":
			bad = append(bad, fmt.Sprintf("its %s is worse than its maker allows", strings.ReplaceAll(printable(a.Name), "_", " ")))
		case words != "" && a.Raw.Value > 0 && a.Raw.Value < 1<<32: // some pack other numbers above
			doubtful = append(doubtful, fmt.Sprintf("%d %s", a.Raw.Value, words))
		}
	}
	if n := r.NVMe; n != nil {
		if n.CriticalWarning&^2 != 0 { // bit 1 is its temperature (NVM Express 2.0, 5.16.1.3)
			bad = append(bad, "it says of itself that it is failing")
		}
		if n.PercentageUsed >= 100 || n.AvailableSpare < n.SpareThreshold {
			doubtful = append(doubtful, fmt.Sprintf("%d %% of the writes that it was made for are used", n.PercentageUsed))
		}
		if n.MediaErrors > 0 {
			doubtful = append(doubtful, fmt.Sprintf("%d errors that it could not correct", n.MediaErrors))
		}
	}
	switch {
	case len(bad) > 0:
		d.Health, d.Problem = Failed, "replace this disk: "+strings.Join(bad, ", ")
	case len(doubtful) > 0:
		d.Health, d.Problem = Warning, "have another disk ready: "+strings.Join(doubtful, ", ")
	case d.Celsius >= warnCelsius:
		d.Health, d.Problem = Warning, fmt.Sprintf("it is too warm, %.0f °C: look after the fan and the air around it", d.Celsius)
	}
	return d, nil
}

// examine asks a disk how it does. One that sleeps is not woken.
func examine(ctx context.Context, path string, warnCelsius float64) (Disk, error) {
	out, err := run(ctx, smartTime, "smartctl", "--json=c", "--nocheck=standby,3", "--info", "--health", "--attributes", path)
	if errors.Is(err, errNoProgram) {
		return Disk{}, err
	}
	// Its exit status is bits about the disk (smartctl(8), EXIT STATUS); what it wrote says more.
	d, jerr := readReport(out, warnCelsius)
	if jerr != nil && err != nil && !errors.Is(jerr, errAsleep) {
		return d, err
	}
	return d, jerr
}
