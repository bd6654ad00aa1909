package mkimage

import "testing"

func TestStanzas(t *testing.T) {
	got := stanzas([]byte("Package: libx\nVersion: 1-2\nDescription: a library\n with more: lines\nSize: 12\n\nPackage: libx\nVersion: 1-1\n\nPackage: y\nVersion: 3"))
	if len(got) != 2 || got["libx"]["Version"] != "1-2" || got["libx"]["Size"] != "12" || got["y"]["Version"] != "3" {
		t.Errorf("%v", got)
	}
}

func TestKernelNames(t *testing.T) {
	for name, want := range map[string]kernelName{
		"linux-modules-7.3.4+deb13-arm64":        {"linux-modules-", "7.3.4+deb13", "arm64"},
		"linux-image-6.12.107+deb13-cloud-arm64": {"linux-image-", "6.12.107+deb13", "cloud-arm64"},
		"linux-image-arm64":                      {},
		"linux-base":                             {},
		"libx":                                   {},
	} {
		if got, ok := splitKernel(name); got != want || ok != (want != kernelName{}) {
			t.Errorf("%s: %+v, %v", name, got, ok)
		}
	}
	const depends = "linux-base (= 1), linux-image-7.3.4+deb13-arm64 (= 7.3.4-1~bpo13+1)"
	if got := kernelOf(depends, "arm64"); got != "7.3.4+deb13" {
		t.Errorf("%q", got)
	}
	if got := kernelOf(depends, "cloud-arm64"); got != "" {
		t.Errorf("%q", got)
	}
}
