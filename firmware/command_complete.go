package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// completion writes a shell's completion of the commands' words and flags.
func (r *remote) completion(words []string) error { return completion(r.out, words[0]) }

// completed are the nouns with their verbs, and the flags of all of a noun's commands.
func completed() (list []string, of, flags map[string][]string) {
	of = map[string][]string{"help": nil, "version": nil}
	flags = make(map[string][]string)
	for _, v := range verbs() {
		noun, verb, _ := strings.Cut(v.words, " ")
		if verb != "" && verb[0] != '-' {
			of[noun] = append(of[noun], verb)
		} else if of[noun] == nil {
			of[noun] = []string{}
		}
		if verb != "" && verb[0] == '-' {
			flags[noun] = append(flags[noun], verb)
		}
		for f := range strings.FieldsSeq(v.flags) {
			if !slices.Contains(flags[noun], "-"+f) {
				flags[noun] = append(flags[noun], "-"+f)
			}
		}
	}
	of["completion"] = []string{"bash", "zsh", "fish", "powershell"}
	for noun := range of {
		list = append(list, noun)
		flags[noun] = append(flags[noun], "-json", "-state", "-box")
	}
	slices.Sort(list)
	of["help"] = slices.DeleteFunc(slices.Clone(list), func(n string) bool { return n == "help" || n == "version" })
	return list, of, flags
}

func completion(w io.Writer, shell string) error {
	nouns, of, flags := completed()
	switch shell {
	case "bash", "zsh":
		if shell == "zsh" {
			fmt.Fprintln(w, "autoload -U +X bashcompinit && bashcompinit")
		}
		fmt.Fprintln(w, "_postern() {\n  local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} noun=\"\" flags=\"-state -box -json\" w")
		fmt.Fprintf(w, "  for w in \"${COMP_WORDS[@]:1:$((COMP_CWORD-1))}\"; do\n    case $w in %s) noun=$w; break ;; esac\n  done\n", strings.Join(nouns, "|"))
		fmt.Fprintln(w, "  case $before in\n    -state) COMPREPLY=($(compgen -d -- \"$word\")); return ;;\n    -ca|-cert|-key) COMPREPLY=($(compgen -f -- \"$word\")); return ;;")
		for _, noun := range nouns {
			if len(of[noun]) > 0 {
				fmt.Fprintf(w, "    %s) COMPREPLY=($(compgen -W %q -- \"$word\")); return ;;\n", noun, strings.Join(of[noun], " "))
			}
		}
		fmt.Fprintln(w, "  esac\n  case $noun in")
		for _, noun := range nouns {
			fmt.Fprintf(w, "    %s) flags=%q ;;\n", noun, strings.Join(flags[noun], " "))
		}
		fmt.Fprintf(w, "    *) flags=\"$flags %s\" ;;\n  esac\n  COMPREPLY=($(compgen -f -W \"$flags\" -- \"$word\"))\n}\ncomplete -F _postern postern\n", strings.Join(nouns, " "))
	case "fish":
		fmt.Fprintln(w, "complete -c postern -o state -r -a '(__fish_complete_directories)'\ncomplete -c postern -o box -x\ncomplete -c postern -o json")
		for _, noun := range nouns {
			fmt.Fprintf(w, "complete -c postern -f -n 'not __fish_seen_subcommand_from %s' -a %s\n", strings.Join(nouns, " "), noun)
			for _, verb := range of[noun] {
				fmt.Fprintf(w, "complete -c postern -f -n '__fish_seen_subcommand_from %s' -a %s\n", noun, verb)
			}
			for _, f := range flags[noun] {
				if name := strings.TrimLeft(f, "-"); name != "json" && name != "state" && name != "box" {
					fmt.Fprintf(w, "complete -c postern -n '__fish_seen_subcommand_from %s' -o %s\n", noun, name)
				}
			}
		}
	case "powershell":
		fmt.Fprintln(w, "Register-ArgumentCompleter -Native -CommandName postern -ScriptBlock {\n  param($word, $line, $at)\n  $verbs = @{")
		for _, noun := range nouns {
			fmt.Fprintf(w, "    '%s' = '%s'\n", noun, strings.Join(append(slices.Clone(of[noun]), flags[noun]...), " "))
		}
		fmt.Fprintf(w, "  }\n  $words = $line.CommandElements | ForEach-Object { $_.ToString() }\n  $noun = $words | Where-Object { $verbs.ContainsKey($_) -and $_ -ne $word } | Select-Object -First 1\n"+
			"  $offer = if ($noun) { $verbs[$noun] } else { '%s -state -box -json' }\n  $offer.Split(' ') | Where-Object { $_ -like \"$word*\" } |\n"+
			"    ForEach-Object { [System.Management.Automation.CompletionResult]::new($_) }\n}\n", strings.Join(nouns, " "))
	default:
		return errUsage(fmt.Sprintf("no completion for %q: bash, zsh, fish and powershell are known", shell))
	}
	return nil
}
