package lcd

import (
	"strings"
	"unicode"
)

// maxText bounds a line before it is laid out: names come from the network, and nobody reads more as it passes by.
const maxText = 120

// accents are letters with their accent, by the combining mark that Unicode writes it with: letter, then both as one.
var accents = map[rune]string{
	'\u0300': "AÀEÈIÌOÒUÙaàeèiìoòuù",
	'\u0301': "AÁEÉIÍOÓUÚYÝaáeéiíoóuúyýCĆcćNŃnńSŚsśZŹzź",
	'\u0302': "AÂEÊIÎOÔUÛaâeêiîoôuû",
	'\u0303': "AÃNÑOÕaãnñoõ",
	'\u0308': "AÄEËIÏOÖUÜYŸaäeëiïoöuüyÿ",
	'\u030A': "AÅaåUŮuů",
	'\u030C': "CČDĎEĚNŇRŘSŠTŤZŽcčdďeěnňrřsšzž",
	'\u0327': "CÇcçSŞsş",
	'\u0328': "AĄaąEĘeę",
}

// spelled is how to write what a panel has not, where it is not just the letter without its accent.
var spelled = map[rune]string{
	'Ä': "Ae", 'Ö': "Oe", 'Ü': "Ue", 'ä': "ae", 'ö': "oe", 'ü': "ue", 'ß': "ss", 'ẞ': "SS",
	'Æ': "Ae", 'æ': "ae", 'Œ': "Oe", 'œ': "oe", 'Ø': "O", 'ø': "o", 'Ł': "L", 'ł': "l", 'Đ': "D", 'đ': "d",
	'‘': "'", '’': "'", '‚': "'", '“': "\"", '”': "\"", '„': "\"", '«': "\"", '»': "\"", '‹': "'", '›': "'",
	'–': "-", '—': "-", '‑': "-", '…': "...", '€': "EUR", '£': "GBP", '°': "", '·': "-", '\\': "/", '~': "-", '×': "x",
}

var composed, plain = func() (composed map[[2]rune]rune, plain map[rune]rune) {
	composed, plain = make(map[[2]rune]rune), make(map[rune]rune)
	for mark, pairs := range accents {
		letters := []rune(pairs)
		for i := 0; i+1 < len(letters); i += 2 {
			composed[[2]rune{letters[i], mark}] = letters[i+1]
			plain[letters[i+1]] = letters[i]
		}
	}
	return composed, plain
}()

// letters makes s into characters that the panel has: accents are put onto their letters (names from a Mac have them
// apart), what is missing is spelled otherwise, white space is a space, and what cannot be seen is left out. That goes
// for marks that turn the writing round, too: a name must not be able to disguise itself.
func letters(s string, has func(rune) bool) []rune {
	var out []rune
	for _, r := range s {
		if len(out) >= maxText {
			break
		}
		if unicode.Is(unicode.Mn, r) {
			if len(out) > 0 {
				if c, ok := composed[[2]rune{out[len(out)-1], r}]; ok {
					out = append(out[:len(out)-1], spell(c, has)...)
				}
			}
			continue
		}
		switch {
		case unicode.IsSpace(r):
			out = append(out, ' ')
		case unicode.IsGraphic(r):
			out = append(out, spell(r, has)...)
		}
	}
	return out
}

func spell(r rune, has func(rune) bool) []rune {
	if has(r) {
		return []rune{r}
	}
	if s, ok := spelled[r]; ok {
		return []rune(strings.Map(func(r rune) rune {
			if has(r) {
				return r
			}
			return '?'
		}, s))
	}
	if p, ok := plain[r]; ok && has(p) {
		return []rune{p}
	}
	return []rune{'?'}
}
