package wsd

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Names of namespaces, actions and roles. Windows speaks the Web Services Dynamic Discovery of April 2005, not OASIS' 1.1
// ([MS-PBSD] 1.4, 2.1).
const (
	nsSOAP      = "http://www.w3.org/2003/05/soap-envelope"
	nsAddress   = "http://schemas.xmlsoap.org/ws/2004/08/addressing"
	nsDiscovery = "http://schemas.xmlsoap.org/ws/2005/04/discovery"
	nsProfile   = "http://schemas.xmlsoap.org/ws/2006/02/devprof"
	nsMetadata  = "http://schemas.xmlsoap.org/ws/2004/09/mex"
	nsTransfer  = "http://schemas.xmlsoap.org/ws/2004/09/transfer"
	nsPub       = "http://schemas.microsoft.com/windows/pub/2005/07"
	nsPnPX      = "http://schemas.microsoft.com/windows/pnpx/2005/10" // PnP-X 1.0c
	anonymous   = nsAddress + "/role/anonymous"
	everyone    = "urn:schemas-xmlsoap-org:ws:2005:04:discovery"
	actionGet   = nsTransfer + "/Get"
)

// Bounds of what is read.
const (
	maxMessage = 16 << 10
	maxTokens  = 2000
	maxDepth   = 32
	maxText    = 1024
)

// A message is what of an envelope counts.
type message struct {
	action, id, to, replyTo string
	types                   []string // of a Probe, without prefixes
	scopes                  string   // of a Probe
	endpoint                string   // of a Resolve
}

var errMessage = errors.New("wsd: not a message")

// parse reads an envelope token by token. There are no entities but XML's own five: the decoder is strict and knows no
// document types' content.
func parse(b []byte) (m message, err error) {
	if len(b) > maxMessage {
		return m, errMessage
	}
	d := xml.NewDecoder(bytes.NewReader(b))
	d.CharsetReader = func(string, io.Reader) (io.Reader, error) { return nil, errMessage } // UTF-8 alone
	var way []xml.Name
	ended := false
	for range maxTokens {
		t, err := d.Token()
		if errors.Is(err, io.EOF) && ended && len(way) == 0 && m.action != "" && m.id != "" {
			return m, nil
		}
		if err != nil {
			return m, fmt.Errorf("%w: %v", errMessage, err)
		}
		switch t := t.(type) {
		case xml.Directive:
			return m, errMessage
		case xml.StartElement:
			if way = append(way, t.Name); len(way) > maxDepth || ended ||
				len(way) == 1 && t.Name != (xml.Name{Space: nsSOAP, Local: "Envelope"}) {
				return m, errMessage
			}
		case xml.EndElement:
			way = way[:len(way)-1]
			ended = len(way) == 0
		case xml.CharData:
			if text := strings.TrimSpace(string(t)); text != "" {
				m.take(way, text[:min(len(text), maxText)])
			}
		}
	}
	return m, errMessage
}

// take notes the text of an element, by its way from the envelope on.
func (m *message) take(way []xml.Name, text string) {
	if len(way) < 3 || way[1].Space != nsSOAP {
		return
	}
	last := way[len(way)-1]
	if way[1].Local == "Header" {
		switch {
		case last == xml.Name{Space: nsAddress, Local: "Address"} && way[2] == xml.Name{Space: nsAddress, Local: "ReplyTo"}:
			m.replyTo = text
		case len(way) > 3 || last.Space != nsAddress:
		case last.Local == "Action":
			m.action = text
		case last.Local == "MessageID":
			m.id = text
		case last.Local == "To":
			m.to = text
		}
		return
	}
	if way[1].Local != "Body" || way[2].Space != nsDiscovery {
		return
	}
	switch {
	case way[2].Local == "Probe" && last == xml.Name{Space: nsDiscovery, Local: "Types"}:
		for _, name := range strings.Fields(text) {
			_, local, ok := strings.Cut(name, ":")
			if !ok {
				local = name
			}
			m.types = append(m.types, local)
		}
	case way[2].Local == "Probe" && last == xml.Name{Space: nsDiscovery, Local: "Scopes"}:
		m.scopes = text
	case way[2].Local == "Resolve" && last == xml.Name{Space: nsAddress, Local: "Address"}:
		m.endpoint = text
	}
}

// escape makes text of anything.
func escape(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s)) // a Builder never fails
	return b.String()
}

// An envelope is what is sent.
type envelope struct {
	action, id, to, relatesTo string
	instance, n               uint64 // [WS-Discovery] 7: AppSequence; 0: none
	body                      string // XML
}

func (e envelope) bytes() []byte {
	var b strings.Builder
	fmt.Fprintf(&b, `<?xml version="1.0" encoding="utf-8"?>`+
		`<soap:Envelope xmlns:soap="%s" xmlns:wsa="%s" xmlns:wsd="%s" xmlns:wsdp="%s" xmlns:wsx="%s" xmlns:pub="%s" xmlns:pnpx="%s"><soap:Header>`,
		nsSOAP, nsAddress, nsDiscovery, nsProfile, nsMetadata, nsPub, nsPnPX)
	fmt.Fprintf(&b, `<wsa:To>%s</wsa:To><wsa:Action>%s</wsa:Action><wsa:MessageID>%s</wsa:MessageID>`, escape(e.to), e.action, e.id)
	if e.relatesTo != "" {
		fmt.Fprintf(&b, `<wsa:RelatesTo>%s</wsa:RelatesTo>`, escape(e.relatesTo))
	}
	if e.instance != 0 {
		fmt.Fprintf(&b, `<wsd:AppSequence InstanceId="%d" MessageNumber="%d"/>`, e.instance, e.n)
	}
	fmt.Fprintf(&b, `</soap:Header><soap:Body>%s</soap:Body></soap:Envelope>`, e.body)
	return []byte(b.String())
}
