package hwmon

import (
	"os"
	"path/filepath"
	"testing"
)

func TestFind(t *testing.T) {
	dir := t.TempDir()
	for file, value := range map[string]string{
		"hwmon0/name": "cpu_thermal\n", "hwmon0/temp1_input": "41250\n",
		"hwmon1/name": "nct7802\n", "hwmon1/temp3_input": "-500\n", "hwmon1/temp3_label": "Case\n",
		"hwmon1/pwm2": "255\n", "hwmon1/pwm2_enable": "2\n", "hwmon1/fan2_input": "1180\n", "hwmon1/fan1_input": "0\n",
		"hwmon2/temp1_input": "1\n", // without a name it is no monitor
		"hwmon3/name":        "pwmfan\n", "hwmon3/pwm1": "0\n",
	} {
		file = filepath.Join(dir, file)
		if err := os.MkdirAll(filepath.Dir(file), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(value), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	fans, sensors := Find(dir)
	if len(fans) != 2 || len(sensors) != 2 {
		t.Fatalf("%d fans, %d sensors; want 2 and 2", len(fans), len(sensors))
	}
	for i, want := range []struct {
		name    string
		celsius float64
	}{{"cpu_thermal 1", 41.25}, {"nct7802 Case", -0.5}} {
		if got, err := sensors[i].Celsius(); err != nil || got != want.celsius || sensors[i].Name() != want.name {
			t.Errorf("%s: %v, %v; want %s: %v", sensors[i].Name(), got, err, want.name, want.celsius)
		}
	}
	if rpm, err := fans[0].RPM(); err != nil || rpm != 1180 || fans[0].Name() != "nct7802 2" {
		t.Errorf("%s: %d, %v", fans[0].Name(), rpm, err)
	}
	if _, err := fans[1].RPM(); err == nil {
		t.Error("a fan that cannot be read was read")
	}
	for percent, want := range map[int]string{0: "0", 50: "128", 100: "255"} {
		for i, dir := range []string{filepath.Join(dir, "hwmon1/pwm2"), filepath.Join(dir, "hwmon3/pwm1")} {
			if err := fans[i].Set(percent); err != nil {
				t.Error(err)
			}
			if got, err := os.ReadFile(dir); string(got) != want {
				t.Errorf("%d%%: %q, %v; want %s", percent, got, err, want)
			}
		}
	}
	if got, err := text(filepath.Join(dir, "hwmon1/pwm2_enable")); got != "1" {
		t.Errorf("enable is %q, %v; want 1", got, err)
	}
	for _, percent := range []int{-1, 101} {
		if fans[0].Set(percent) == nil {
			t.Errorf("a fan was set to %d%%", percent)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "hwmon0/temp1_input"), []byte("hot"), 0o666); err != nil {
		t.Fatal(err)
	}
	if got, err := sensors[0].Celsius(); err == nil {
		t.Errorf("a temperature of %v was read from a word", got)
	}
	if fans, sensors := Find(t.TempDir()); fans != nil || sensors != nil {
		t.Error("found something in nothing")
	}
}
