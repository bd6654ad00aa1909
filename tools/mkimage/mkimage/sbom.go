package mkimage

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
)

// What of CycloneDX 1.5 (ECMA-424's first edition is 1.6) we write: https://cyclonedx.org/docs/1.5/json/.
type (
	sbom struct {
		Format       string      `json:"bomFormat"`
		Spec         string      `json:"specVersion"`
		SerialNumber string      `json:"serialNumber"`
		Version      int         `json:"version"`
		Metadata     sbomMeta    `json:"metadata"`
		Components   []sbomPart  `json:"components"`
		Dependencies []sbomNeeds `json:"dependencies"`
	}
	sbomMeta struct {
		Component sbomPart `json:"component"`
	}
	sbomPart struct {
		Type       string         `json:"type"`
		Ref        string         `json:"bom-ref,omitempty"`
		Name       string         `json:"name"`
		Version    string         `json:"version,omitempty"`
		PURL       string         `json:"purl,omitempty"`
		Hashes     []sbomHash     `json:"hashes,omitempty"`
		Licences   []sbomLicence  `json:"licenses,omitempty"`
		Properties []sbomProperty `json:"properties,omitempty"`
		Files      []sbomPart     `json:"components,omitempty"`
	}
	sbomHash struct {
		Algorithm string `json:"alg"`
		Content   string `json:"content"`
	}
	sbomLicence struct {
		Licence struct {
			Name string `json:"name"`
		} `json:"license"`
	}
	sbomProperty struct {
		Name  string `json:"name"`
		Value string `json:"value"`
	}
	sbomNeeds struct {
		Ref string   `json:"ref"`
		On  []string `json:"dependsOn,omitempty"`
	}
)

// writeSBOM writes the image's bill of materials: all components, and below each the files of the image that are from
// it. Files of the initramfs are named "initramfs:/...", those of the boot partition "boot:/...".
func writeSBOM(name string, r *Result, parts []component) error {
	b, err := r.bill(parts)
	if err != nil {
		return err
	}
	text, err := json.MarshalIndent(b, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(name, append(text, '\n'), 0o644)
}

func (r *Result) bill(parts []component) (*sbom, error) {
	b := &sbom{
		Format: "CycloneDX", Spec: "1.5", Version: 1,
		Metadata: sbomMeta{sbomPart{
			Type: "firmware", Ref: "image", Name: r.Image, Version: r.Version, Hashes: []sbomHash{{"SHA-256", r.ImageSum}},
		}},
	}
	at := map[string]int{}
	image := sbomNeeds{Ref: "image"}
	for i, c := range parts {
		if _, twice := at[c.name]; twice {
			return nil, fmt.Errorf("two components are called %s", c.name)
		}
		at[c.name] = i
		p := sbomPart{Type: c.kind, Ref: c.purl, Name: c.name, Version: c.version, PURL: c.purl}
		if c.sha256 != "" {
			p.Hashes = []sbomHash{{"SHA-256", c.sha256}}
		}
		if c.goSum != "" {
			p.Properties = []sbomProperty{{"postern:go.sum", c.goSum}}
		}
		for _, l := range c.licences {
			var x sbomLicence
			x.Licence.Name = l
			p.Licences = append(p.Licences, x)
		}
		b.Components = append(b.Components, p)
		image.On = append(image.On, c.purl)
	}
	b.Dependencies = []sbomNeeds{image}
	add := func(file, from string, data []byte) error {
		i, ok := at[from]
		if !ok {
			return fmt.Errorf("%s is from %q, which is no component", file, from)
		}
		s := sha256.Sum256(data)
		b.Components[i].Files = append(b.Components[i].Files, sbomPart{
			Type: "file", Name: file, Hashes: []sbomHash{{"SHA-256", fmt.Sprintf("%x", s)}},
		})
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(r.files)) {
		if err := add("initramfs:/"+name, r.files[name].from, r.files[name].data); err != nil {
			return nil, err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(r.boot)) {
		if err := add("boot:"+name, r.bootFrom[name], r.boot[name]); err != nil {
			return nil, err
		}
	}
	for _, w := range r.raw {
		if err := add(fmt.Sprintf("disk:%d", w.at), w.from, w.data); err != nil {
			return nil, err
		}
	}
	// A name for this very list, made of what is in it: version 8 of a UUID (RFC 9562, 5.8).
	s := sha256.Sum256(fmt.Append(nil, b))
	s[6], s[8] = s[6]&0x0f|0x80, s[8]&0x3f|0x80
	b.SerialNumber = fmt.Sprintf("urn:uuid:%x-%x-%x-%x-%x", s[:4], s[4:6], s[6:8], s[8:10], s[10:16])
	return b, nil
}
