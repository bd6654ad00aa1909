package boot

import (
	"fmt"
	"io/fs"
	"log/slog"
	"strings"
)

// logPCRs says what was measured on the way here, for whoever compares it with what the image foretold: boot code,
// configuration, Secure Boot, the kernel's, the image's and the command line's registers.
func logPCRs(sys fs.FS, log *slog.Logger) {
	var all []any
	for _, i := range []int{4, 5, 7, 9, 11, 12} {
		v, err := fs.ReadFile(sys, fmt.Sprintf("class/tpm/tpm0/pcr-sha256/%d", i))
		if err != nil {
			log.Warn("the TPM has no SHA-256 registers", "error", err)
			return
		}
		all = append(all, fmt.Sprint("pcr", i), strings.ToLower(strings.TrimSpace(string(v))))
	}
	log.Info("TPM", all...)
}
