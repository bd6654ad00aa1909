package state

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
)

// DecodeJSON reads v from a file's contents, of which there may be max bytes: one value, whole, with no key that v does not
// know. Whether the value makes sense is the caller's to judge.
func DecodeJSON(data []byte, max int, v any) error {
	if len(data) > max {
		return fmt.Errorf("%d bytes are too many", len(data))
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return err
	}
	if _, err := dec.Token(); err != io.EOF {
		return errors.New("something follows what belongs there")
	}
	return nil
}

// WriteJSON is Write of v, for people to read as well.
func WriteJSON(path string, v any, mode fs.FileMode) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return Write(path, append(data, '\n'), mode)
}
