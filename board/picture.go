package board

import (
	"image"
	"image/png"
	"net/http"
)

// PictureScale is how many dots of a picture one of the display's is.
const PictureScale = 3

// ServePicture answers with what a display shows, as PNG: lit dots white, or grey when it is dim. dots is nil where nothing
// was shown yet.
func ServePicture(w http.ResponseWriter, r *http.Request, dots *Bitmap, light Brightness) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		http.Error(w, "only GET", http.StatusMethodNotAllowed)
		return
	}
	if dots == nil {
		http.NotFound(w, r)
		return
	}
	m := image.NewGray(image.Rect(0, 0, dots.Width*PictureScale, dots.Height*PictureScale))
	lit := map[Brightness]byte{Off: 0, Dim: 0x80, Bright: 0xff}[light]
	for i := range m.Pix {
		if dots.On(i%m.Stride/PictureScale, i/m.Stride/PictureScale) {
			m.Pix[i] = lit
		}
	}
	w.Header().Set("Content-Type", "image/png")
	w.Header().Set("Cache-Control", "no-store")
	_ = png.Encode(w, m) // whoever asked has gone; nothing to tell them
}
