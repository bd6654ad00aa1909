package web

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"
)

// How much a form may hold.
const (
	maxFields = 600 // a share's rights have one for each user
	maxField  = 60 << 10
)

var (
	errForm  = &statusError{http.StatusBadRequest, "the form cannot be read; open the page again"}
	errLarge = &statusError{http.StatusRequestEntityTooLarge, "this is more than the page takes"}
	errKind  = &statusError{http.StatusUnsupportedMediaType, "the body must be a form, or JSON for the API"}
	errToken = &statusError{http.StatusForbidden, "this form is too old; open the page again and repeat it"}
)

// readForm reads the body of a POST: a form, or one with small files in it, which count as fields.
func readForm(w http.ResponseWriter, r *http.Request) (url.Values, error) {
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	v := make(url.Values)
	switch kind {
	case "application/x-www-form-urlencoded":
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, tooLarge(err)
		}
		if v, err = url.ParseQuery(string(body)); err != nil {
			return nil, errForm
		}
	case "multipart/form-data":
		parts, err := r.MultipartReader()
		if err != nil {
			return nil, errForm
		}
		for range maxFields {
			p, err := parts.NextPart()
			if err == io.EOF {
				return checked(v)
			}
			if err != nil {
				return nil, tooLarge(err)
			}
			text, err := io.ReadAll(io.LimitReader(p, maxField+1))
			if err != nil {
				return nil, tooLarge(err)
			}
			if len(text) > 0 || p.FileName() == "" {
				v.Set(p.FormName(), string(text))
			}
		}
		return nil, errLarge
	default:
		return nil, errKind
	}
	return checked(v)
}

func tooLarge(err error) error {
	var most *http.MaxBytesError
	if errors.As(err, &most) {
		return errLarge
	}
	return errForm
}

// checked refuses what no person types.
func checked(v url.Values) (url.Values, error) {
	n := 0
	for key, texts := range v {
		n += len(texts)
		for _, text := range texts {
			if !utf8.ValidString(key) || !utf8.ValidString(text) || strings.ContainsRune(text, 0) {
				return nil, errForm
			}
			if len(text) > maxField {
				return nil, errLarge
			}
		}
	}
	if n > maxFields {
		return nil, errLarge
	}
	return v, nil
}

// readJSON reads an object of texts, numbers, true and false, and lists of texts, as if it were a form.
func readJSON(w http.ResponseWriter, r *http.Request) (url.Values, error) {
	v := make(url.Values)
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if kind != "application/json" { // which no form of another site can send
		return nil, errKind
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		return nil, tooLarge(err)
	}
	if len(strings.TrimSpace(string(body))) == 0 {
		return v, nil
	}
	var object map[string]any
	if err := json.Unmarshal(body, &object); err != nil {
		return nil, &statusError{http.StatusBadRequest, "the body is not a JSON object: " + err.Error()}
	}
	for key, value := range object {
		switch value := value.(type) {
		case string:
			v.Set(key, value)
		case bool:
			v.Set(key, strconv.FormatBool(value))
		case float64:
			v.Set(key, strconv.FormatFloat(value, 'f', -1, 64))
		case nil:
		case []any:
			for _, e := range value {
				text, ok := e.(string)
				if !ok {
					return nil, &statusError{http.StatusBadRequest, key + ": a list holds texts"}
				}
				v.Add(key, text)
			}
		default:
			return nil, &statusError{http.StatusBadRequest, key + ": neither a text, a number, true, false, nor a list of texts"}
		}
	}
	return checked(v)
}

// as is ctx with who asks in it.
func as(ctx context.Context, a Actor) context.Context { return context.WithValue(ctx, actorKey{}, a) }
