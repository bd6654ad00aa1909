package web

import (
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"
)

// What is typed into the page becomes a search, with days as the owner's clock has them.
func TestSearch(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Skip("no time zones here")
	}
	at := func(s string) time.Time {
		v, err := time.Parse(time.RFC3339, s)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	for _, c := range []struct {
		asked string
		want  Search
		wrong string
	}{
		{"", Search{}, ""},
		{"q=+wrong&event=logon&user=olga&device=PC&failed=on&before=77", Search{Text: "wrong", Event: "logon", User: "olga", Device: "PC", Failed: true, Before: 77}, ""},
		{"from=2026-03-29&to=2026-03-29", Search{From: at("2026-03-29T00:00:00+01:00"), To: at("2026-03-30T00:00:00+02:00")}, ""}, // a day of 23 hours
		{"from=29.3.2026", Search{}, "a day is written"},
		{"before=x", Search{}, "search again"},
		{"before=-1", Search{}, "search again"},
		{"q=" + strings.Repeat("x", maxSearch+1), Search{}, "at most"},
	} {
		asked, err := url.ParseQuery(c.asked)
		if err != nil {
			t.Fatal(err)
		}
		got, err := search(asked, berlin)
		if c.wrong != "" {
			if err == nil || !strings.Contains(err.Error(), c.wrong) || statusOf(err) != http.StatusBadRequest {
				t.Errorf("%s: %v", c.asked, err)
			}
			continue
		}
		if err != nil || !got.From.Equal(c.want.From) || !got.To.Equal(c.want.To) {
			t.Errorf("%s: %+v, %v", c.asked, got, err)
		}
		got.From, got.To, c.want.From, c.want.To = time.Time{}, time.Time{}, time.Time{}, time.Time{}
		if !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v", c.asked, got)
		}
	}
}
