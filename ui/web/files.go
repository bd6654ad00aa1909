package web

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"time"

	"rsc.io/qr"
)

func contextFor(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, d)
}

// files are what is handed out and taken in as files.
func (s *Server) files() {
	m := s.mux
	if s.box.Devices != nil {
		m.HandleFunc("GET /devices/qr.png", s.signedIn(func(w http.ResponseWriter, r *http.Request, _ *session) { s.pairingQR(w, r) }))
	}
	if s.box.Certificates != nil {
		// Everybody may have the authority's certificate: it is public, and who needs it is not signed in yet.
		m.HandleFunc("GET /ca.cer", s.authority(false))
		m.HandleFunc("GET /ca.pem", s.authority(true))
		m.HandleFunc("POST /certificates/request", s.signedIn(s.request))
		m.HandleFunc("POST /api/certificates/request", s.program(func(w http.ResponseWriter, r *http.Request) {
			if _, err := readJSON(w, r); err != nil {
				Answer(w, statusOf(err), Problem(err.Error()))
				return
			}
			text, err := s.box.Certificates.Request(r.Context())
			if err != nil {
				Answer(w, statusOf(err), Problem(err.Error()))
				return
			}
			Answer(w, http.StatusOK, map[string]any{"ok": true, "data": string(text)})
		}))
	}
	if s.box.Journal != nil {
		m.HandleFunc("GET /activity/export", s.signedIn(func(w http.ResponseWriter, r *http.Request, _ *session) { s.export(w, r) }))
	}
	if s.box.Updates != nil {
		m.HandleFunc("POST /system/update", s.signedIn(s.update))
		m.HandleFunc("PUT /api/update", s.program(func(w http.ResponseWriter, r *http.Request) {
			if err := s.takeUpdate(w, r, r.Body); err != nil {
				Answer(w, statusOf(err), Problem(err.Error()))
				return
			}
			Answer(w, http.StatusOK, map[string]bool{"ok": true})
		}))
	}
	if s.box.Backups != nil {
		m.HandleFunc("POST /system/backup", s.signedIn(s.backup))
		m.HandleFunc("POST /system/restore", s.signedIn(s.restore))
	}
}

func attach(w http.ResponseWriter, kind, name string) {
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": name}))
}

// pairingQR draws what the panel shows, for a box without one.
func (s *Server) pairingQR(w http.ResponseWriter, r *http.Request) {
	st, err := s.state(r.Context())
	if err != nil || st.Pairing == nil || st.Pairing.URL == "" {
		http.NotFound(w, r)
		return
	}
	c, err := qr.Encode(st.Pairing.URL, qr.M)
	if err != nil {
		http.NotFound(w, r)
		return
	}
	c.Scale = 6
	w.Header().Set("Content-Type", "image/png")
	_, _ = w.Write(c.PNG())
}

func (s *Server) authority(text bool) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		der, err := s.box.Certificates.Authority(r.Context())
		if err != nil {
			http.Error(w, sentence(err.Error()), http.StatusInternalServerError)
			return
		}
		if text {
			attach(w, "application/x-pem-file", "postern-ca.pem")
			der = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
		} else {
			attach(w, "application/x-x509-ca-cert", "postern-ca.cer")
		}
		_, _ = w.Write(der)
	}
}

func (s *Server) request(w http.ResponseWriter, r *http.Request, ses *session) {
	_, err := s.posted(w, r, ses)
	var text []byte
	if err == nil {
		text, err = s.box.Certificates.Request(r.Context())
	}
	if err != nil {
		s.show(w, r, ses, "certificates", statusOf(err), err, nil)
		return
	}
	attach(w, "application/pkcs10", "postern.csr")
	_, _ = w.Write(text)
}

// parts walks through a form that ends in a large file: the fields come first, token among them, so that nothing is read of
// who has none. take gets the file.
func (s *Server) parts(w http.ResponseWriter, r *http.Request, ses *session, most int64, take func(url.Values, io.Reader) error) error {
	select {
	case s.uploads <- struct{}{}:
		defer func() { <-s.uploads }()
	default:
		return errors.New("another file is coming in; wait until it is done")
	}
	out := http.NewResponseController(w)
	_ = out.SetReadDeadline(time.Now().Add(uploadTime))
	_ = out.SetWriteDeadline(time.Now().Add(uploadTime + answerTime))
	r.Body = http.MaxBytesReader(w, r.Body, most)
	parts, err := r.MultipartReader()
	if err != nil {
		return errKind
	}
	v := make(url.Values)
	for range 16 {
		p, err := parts.NextPart()
		if err == io.EOF {
			return errors.New("no file has come; choose one, and try again")
		}
		if err != nil {
			return tooLarge(err)
		}
		if p.FormName() != "file" {
			text, err := io.ReadAll(io.LimitReader(p, 4096))
			if err != nil {
				return tooLarge(err)
			}
			v.Set(p.FormName(), string(text))
			continue
		}
		if !same(ses.token, v.Get("token")) {
			return errToken
		}
		if p.FileName() == "" {
			return errors.New("no file was chosen")
		}
		return take(v, p)
	}
	return errForm
}

func (s *Server) takeUpdate(w http.ResponseWriter, r *http.Request, body io.Reader) error {
	out := http.NewResponseController(w)
	_ = out.SetReadDeadline(time.Now().Add(uploadTime))
	_ = out.SetWriteDeadline(time.Now().Add(uploadTime + answerTime))
	s.log.Info("an update comes in", "by", By(r.Context()).User)
	return s.box.Updates.Install(r.Context(), io.LimitReader(body, maxUpload))
}

func (s *Server) update(w http.ResponseWriter, r *http.Request, ses *session) {
	err := s.parts(w, r, ses, maxUpload, func(_ url.Values, file io.Reader) error { return s.takeUpdate(w, r, file) })
	if err != nil {
		s.show(w, r, ses, "system", statusOf(err), err, nil)
		return
	}
	ses.say(words.say("update.done"))
	http.Redirect(w, r, "/system", http.StatusSeeOther)
}

func (s *Server) backup(w http.ResponseWriter, r *http.Request, ses *session) {
	v, err := s.posted(w, r, ses)
	if err == nil {
		err = s.again(r.Context(), v)
	}
	var b bytes.Buffer
	if err == nil {
		err = s.box.Backups.Save(r.Context(), &b, v.Get("password"))
	}
	if err != nil {
		s.show(w, r, ses, "system", statusOf(err), err, nil)
		return
	}
	attach(w, "application/octet-stream", "postern-"+time.Now().UTC().Format("2006-01-02")+".backup")
	_, _ = w.Write(b.Bytes())
}

func (s *Server) restore(w http.ResponseWriter, r *http.Request, ses *session) {
	err := s.parts(w, r, ses, maxRestore, func(v url.Values, file io.Reader) error {
		if err := s.again(r.Context(), v); err != nil {
			return err
		}
		return s.box.Backups.Restore(r.Context(), file, v.Get("password"))
	})
	if err != nil {
		s.show(w, r, ses, "system", statusOf(err), err, nil)
		return
	}
	http.Redirect(w, r, s.restarting(""), http.StatusSeeOther)
}
