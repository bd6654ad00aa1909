package state

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
)

// ErrLater says that a file has a form that only a later version of Postern knows. It must stay as it is: that version may
// come back.
var ErrLater = errors.New("it was written by a later version of Postern, and is left as it is")

// CheckForm is ErrLater if a file's contents say, by a key "version" or "form", that they have a form above the known one.
// What is no JSON says nothing.
func CheckForm(data []byte, known int) error {
	var says struct{ Version, Form int }
	_ = json.Unmarshal(data, &says) // what is damaged is the caller's to find
	if form := max(says.Version, says.Form); form > known {
		return fmt.Errorf("%w: its form is %d, this one knows %d", ErrLater, form, known)
	}
	return nil
}

// DecodeJSON reads v from a file's contents, of which there may be max bytes: one value, whole, of a form that is known
// (CheckForm). Keys that v does not know are passed over: a later version may add some without another form, and it is the
// version before that reads them when that one is left on trial; what it changes in the file, it writes without them. Whether
// the value makes sense is the caller's to judge.
func DecodeJSON(data []byte, max, known int, v any) error {
	if len(data) > max {
		return fmt.Errorf("%d bytes are too many", len(data))
	}
	if err := CheckForm(data, known); err != nil {
		return err
	}
	dec := json.NewDecoder(bytes.NewReader(data))
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
