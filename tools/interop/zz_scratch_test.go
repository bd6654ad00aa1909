package interop
import ("testing";"time";"os";"fmt";"strings";"sort")
func TestScratch(t *testing.T){
 tgt:=startSamba(t,share{name:"disk"})[0]
 n,k:=0,0; fmt.Sscan(os.Getenv("MB"),&n); fmt.Sscan(os.Getenv("K"),&k)
 l:=tgt.peers.TempDir(t); randomFile(t,l.Sub("big"),int64(n)<<20)
 crash:=0; var d []float64
 for i:=range k { s:=time.Now(); out,err:=tgt.try(t,"disk","lcd "+l.Inside,fmt.Sprintf("put big b%d",i)); if err!=nil { if strings.Contains(out,"PPE_PENDING") {crash++} else {t.Log(out)} ; continue}; d=append(d,float64(time.Since(s).Milliseconds())) }
 sort.Float64s(d); t.Log("RESULT crash",crash,"ms",d)
}
