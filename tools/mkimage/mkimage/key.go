package mkimage

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"aead.dev/minisign"

	"github.com/postern-nas/postern/firmware/keys"
	"github.com/postern-nas/postern/tpm"
)

// A Key is what an image has of whoever builds it, and what signs for it. Updates are signed by one key (minisign). Another,
// the release key (ECDSA on P-256), signs for a TPM that the image, as it will be measured, may have a box's secrets. So who
// has the first alone can send something, and boxes with a TPM that measures do not install it.
type Key struct {
	Public  minisign.PublicKey
	Release *ecdsa.PublicKey // nil: no image of it has a release key, and the running system lets in the next

	private  minisign.PrivateKey
	release  []*ecdsa.PrivateKey // the first is Release's; the others are older ones, that boxes may be sealed to
	approved []tpm.Approval      // what the holder of Release has published, where release is nobody's here
}

// NewKey makes keys that are nowhere else, for tests.
func NewKey() (*Key, error) {
	public, private, err := minisign.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	release, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	return &Key{Public: public, private: private, Release: &release.PublicKey, release: []*ecdsa.PrivateKey{release}}, nil
}

// With is the same update key with the release key of another.
func (k *Key) With(other *Key) *Key {
	return &Key{Public: k.Public, private: k.private, Release: other.Release, release: other.release, approved: other.approved}
}

// BuilderKey is the keys of whoever builds. update names a file as minisign writes it, which is opened with
// $POSTERN_UPDATE_PASSWORD if it is encrypted; release names files of PEM, with commas between them: the first is the image's,
// and the others approve of it, too, for boxes that are sealed to those before it. "" is update.key and release.key in
// postern in the user's configuration folder, which are made the first time; "none" for release is no release key.
func BuilderKey(update, release string) (*Key, error) {
	k := new(Key)
	text, err := secret(update, "update.key", func() ([]byte, error) {
		_, private, err := minisign.GenerateKey(rand.Reader)
		if err != nil {
			return nil, err
		}
		text, err := private.MarshalText()
		return append(text, '\n'), err
	})
	if err != nil {
		return nil, err
	}
	if minisign.IsEncrypted(text) {
		k.private, err = minisign.DecryptKey(os.Getenv("POSTERN_UPDATE_PASSWORD"), text)
	} else {
		err = k.private.UnmarshalText(text)
	}
	if err != nil {
		return nil, fmt.Errorf("the update key is no private key of minisign that opens: %w", err)
	}
	k.Public = k.private.Public().(minisign.PublicKey)
	if release == "none" {
		return k, nil
	}
	for name := range strings.SplitSeq(release, ",") {
		private, err := releaseKey(name)
		if err != nil {
			return nil, fmt.Errorf("release key: %w", err)
		}
		k.release = append(k.release, private)
	}
	k.Release = &k.release[0].PublicKey
	return k, nil
}

func releaseKey(name string) (*ecdsa.PrivateKey, error) {
	text, err := secret(name, "release.key", func() ([]byte, error) {
		private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, err
		}
		return keys.MarshalKey(private)
	})
	if err != nil {
		return nil, err
	}
	signer, err := keys.ParseKey(text)
	if err != nil {
		return nil, err
	}
	private, ok := signer.(*ecdsa.PrivateKey)
	if !ok || private.Curve != elliptic.P256() {
		return nil, errors.New("it is not on P-256")
	}
	return private, nil
}

// secret reads the file at path, or the one called name in the user's configuration folder, which is made if there is none.
func secret(path, name string, generate func() ([]byte, error)) ([]byte, error) {
	own := path == ""
	if own {
		dir, err := os.UserConfigDir()
		if err != nil {
			return nil, fmt.Errorf("no place for a key: %w; name a file", err)
		}
		path = filepath.Join(dir, "postern", name)
	}
	text, err := os.ReadFile(path)
	if !own || !errors.Is(err, fs.ErrNotExist) {
		return text, err
	}
	if text, err = generate(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	_, err = f.Write(text)
	return text, errors.Join(err, f.Sync(), f.Close())
}

// releasePEM is the release key as the image has it.
func (k *Key) releasePEM() ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(k.Release)
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), err
}

// ErrNotTheSame says that what was built is not what was published.
var ErrNotTheSame = errors.New("this is not the image that was published")

// approve signs for each of the systems; or finds what was signed.
func (k *Key) approve(number uint64, systems []tpm.PCRs) (list []tpm.Approval, err error) {
	if k.release == nil {
		for _, pcrs := range systems {
			if !slices.ContainsFunc(k.approved, func(a tpm.Approval) bool { return a.Number == number && a.Fits(k.Release, pcrs) }) {
				return nil, fmt.Errorf("%w: its release key has approved of another; the same sources, Go and architecture make the same", ErrNotTheSame)
			}
		}
		return k.approved, nil
	}
	for _, private := range k.release {
		for _, pcrs := range systems {
			a, err := tpm.Approve(private, number, pcrs)
			if err != nil {
				return nil, err
			}
			list = append(list, a)
		}
	}
	return list, nil
}

// Rebuild builds the image that somebody has published, of which file is what Result says: with the keys that are named
// there, of which nobody here needs the private halves. It is ErrNotTheSame if another image comes out.
func Rebuild(ctx context.Context, o Options, file string, log io.Writer) (*Result, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	was, key, err := published(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if was.Board != o.Board.Name || was.Flavour != o.flavour() || o.Bundle {
		return nil, fmt.Errorf("%s is of the board %s, %s, and what it signs only its keys' owner can sign", file, was.Board, was.Flavour)
	}
	o.Key, o.Number = key, was.Number
	r, err := Build(ctx, o, log)
	if err != nil {
		return nil, err
	}
	if err := r.sameAs(was); err != nil {
		return r, err
	}
	fmt.Fprintln(log, "mkimage: the same image as was published, byte for byte")
	return r, nil
}

func (r *Result) sameAs(was Result) error {
	if r.ImageSum != was.ImageSum {
		return fmt.Errorf("%w: its SHA-256 is %s, and that one's %s", ErrNotTheSame, r.ImageSum, was.ImageSum)
	}
	return nil
}

// published reads what lies beside an image.
func published(text []byte) (r Result, k *Key, err error) {
	if err := json.Unmarshal(text, &r); err != nil {
		return r, nil, err
	}
	k = new(Key)
	if err := k.Public.UnmarshalText([]byte(r.UpdateKey)); err != nil {
		return r, nil, fmt.Errorf("update_key: %w", err)
	}
	if r.ReleaseKey == "" {
		return r, k, nil
	}
	if k.Release, err = keys.ParseRelease([]byte(r.ReleaseKey)); err != nil {
		return r, nil, fmt.Errorf("release_key: %w", err)
	}
	k.approved, err = keys.ParseApprovals(r.Approvals)
	return r, k, err
}
