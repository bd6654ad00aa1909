package slot

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// NewLoader is the slots of a box that systemd-boot chooses on: files postern_N.efi in folder. The largest N boots;
// postern_N+L-D.efi is one on trial with L tries left and D done (UAPI group, Boot Loader Specification, "Boot Counting").
// vars tells which one was booted.
func NewLoader(place Place, folder string, vars Variables) Slots {
	return &loader{files{place, folder}, vars}
}

type loader struct {
	files
	vars Variables
}

// An image is one file of systemd-boot's.
type image struct {
	file    string
	number  int
	counted bool // it has tries, maybe none left
	left    int
	done    int
}

var imageName = regexp.MustCompile(`^(?i)postern_([1-9][0-9]{0,8})(?:\+([0-9]{1,4})(?:-([0-9]{1,4}))?)?\.efi$`)

func parseImage(file string) (i image, ok bool) {
	m := imageName.FindStringSubmatch(file)
	if m == nil {
		return i, false
	}
	i.file, i.counted = file, m[2] != ""
	i.number, _ = strconv.Atoi(m[1]) // digits, and few
	i.left, _ = strconv.Atoi(m[2])
	i.done, _ = strconv.Atoi(m[3])
	return i, true
}

func name(number int) string { return fmt.Sprintf("postern_%d", number) }

// imagesIn returns what is in the folder, the one that boots first before the others.
func imagesIn(dir string) (all []image, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if i, ok := parseImage(e.Name()); ok && e.Type().IsRegular() {
			all = append(all, i)
		}
	}
	slices.SortFunc(all, func(a, b image) int { return b.number - a.number })
	return all, nil
}

// running finds the image that was booted. Its name may have changed since, but not its number.
func (l *loader) running(all []image) (image, error) {
	var booted image
	for _, v := range []string{loaderBootCountPath, loaderEntrySelected} {
		if i, ok := parseImage(base(l.vars.text(v))); ok {
			booted = i
			break
		}
	}
	if booted.number == 0 && len(all) == 1 { // firmware without variables; there is no choice
		return all[0], nil
	}
	for _, i := range all {
		if i.number == booted.number {
			return i, nil
		}
	}
	return image{}, errors.New("the boot loader does not say which image it started")
}

// look reads the folder.
func (l *loader) look(dir string) (all []image, running image, err error) {
	if all, err = imagesIn(dir); err != nil {
		return nil, image{}, err
	}
	running, err = l.running(all)
	return all, running, err
}

// Status implements Slots.
func (l *loader) Status() (s Status, err error) {
	err = l.use(false, func(dir string) error {
		all, running, err := l.look(dir)
		if err != nil {
			return err
		}
		s = Status{Running: name(running.number), Trial: running.counted}
		for _, i := range all {
			switch {
			case i.number <= running.number || !i.counted:
			case i.left > 0:
				s.Waiting = name(i.number)
			default:
				s.Failed = name(i.number)
			}
		}
		return nil
	})
	return s, err
}

// next is the number of an image to come: above all that are there, failed ones too.
func next(all []image) int { return all[0].number + 1 }

// Next implements Slots.
func (l *loader) Next() (n string, err error) {
	err = l.use(false, func(dir string) error {
		all, _, err := l.look(dir)
		if err == nil {
			n = name(next(all))
		}
		return err
	})
	return n, err
}

// TryNext implements Slots.
func (l *loader) TryNext(tries int) error {
	return l.use(true, func(dir string) error {
		all, running, err := l.look(dir)
		switch {
		case err != nil:
			return err
		case running.counted:
			return ErrTrial
		case !stored(dir):
			return ErrNoImage
		case tries < 1 || tries > MaxTries:
			return fmt.Errorf("%d tries", tries)
		}
		if err := rename(dir, newFile, fmt.Sprintf("%s+%d.efi", name(next(all)), tries)); err != nil {
			return err
		}
		return removeOthers(dir, all, running)
	})
}

// removeOthers removes all images but the running one: the one before it, and those that failed.
func removeOthers(dir string, all []image, running image) error {
	for _, i := range all {
		if i.number == running.number {
			continue
		}
		if err := remove(dir + "/" + i.file); err != nil {
			return err
		}
	}
	return nil
}

// MarkGood implements Slots.
func (l *loader) MarkGood() error {
	return l.use(true, func(dir string) error {
		_, running, err := l.look(dir)
		if err != nil || !running.counted {
			return err
		}
		return rename(dir, running.file, name(running.number)+".efi")
	})
}

// GiveUp implements Slots.
func (l *loader) GiveUp() error {
	return l.use(true, func(dir string) error {
		all, running, err := l.look(dir)
		if err != nil || !running.counted || running.left == 0 {
			return err
		}
		if len(all) == 1 {
			return errors.New("there is no other image")
		}
		return rename(dir, running.file, fmt.Sprintf("%s+0-%d.efi", name(running.number), running.done))
	})
}

// Clean implements Slots.
func (l *loader) Clean(waiting bool) error {
	return l.use(true, func(dir string) error {
		if err := remove(dir + "/" + newFile); err != nil {
			return err
		}
		all, running, err := l.look(dir)
		if err != nil {
			return err
		}
		for _, i := range all {
			if i.number > running.number && i.counted && (i.left == 0 || waiting) {
				if err := remove(dir + "/" + i.file); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// Names of variables that systemd-boot and the image's own stub set, systemd-boot(7) and systemd-stub(7).
const (
	loaderBootCountPath   = "LoaderBootCountPath"
	loaderEntrySelected   = "LoaderEntrySelected"
	stubImageIdentifier   = "StubImageIdentifier"
	loaderImageIdentifier = "LoaderImageIdentifier"
	loaderVendor          = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"
)

// Variables is the folder in which Linux shows the firmware's variables: efivarfs.
type Variables string

// text reads a variable that is text: 4 bytes of attributes, then UTF-16 with a zero at the end. "" if there is none.
func (v Variables) text(name string) string {
	b, err := os.ReadFile(string(v) + "/" + name + "-" + loaderVendor)
	if err != nil || len(b) < 4 || len(b) > 4096 {
		return ""
	}
	var s strings.Builder
	for b = b[4:]; len(b) >= 2; b = b[2:] {
		c := rune(b[0]) | rune(b[1])<<8
		if c == 0 {
			break
		}
		if c > '~' { // our paths have none
			c = '?'
		}
		s.WriteRune(c)
	}
	return s.String()
}
