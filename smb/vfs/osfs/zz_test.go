package osfs
import ("testing";"context";"time";"runtime";"github.com/postern-nas/postern/smb/vfs";"github.com/postern-nas/postern/smb/dtyp")
func TestMillion(t *testing.T) {
	dir := memory(t)
	start := time.Now(); fill(t, dir, 1_000_000); t.Log("made", time.Since(start))
	v := volume(t, dir)
	f, _, _ := v.Open(context.Background(), vfs.Path{}, vfs.How{Access: dtyp.FileRead}); defer f.Close()
	start = time.Now()
	count, cookie := 0, uint64(0)
	for more := true; more; { more = false
		check(t, f.ReadDir(context.Background(), cookie, nil, 0, func(next uint64, e vfs.Entry) bool { if more { return false }; more, cookie = true, next; count++; return true })) }
	t.Log(count, time.Since(start))
	var a, b runtime.MemStats
	runtime.GC(); runtime.ReadMemStats(&a)
	start = time.Now(); stored(t, v, "FILE NUMBER 5"); t.Log("first wrong-case lookup", time.Since(start))
	runtime.GC(); runtime.ReadMemStats(&b); t.Log("index bytes", b.HeapAlloc-a.HeapAlloc, v.Stats())
	start = time.Now(); for range 1000 { stored(t, v, "FILE NUMBER 777") }; t.Log("per further lookup", time.Since(start)/1000)
}
