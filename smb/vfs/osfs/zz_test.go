package osfs
import ("testing";"fmt";"os";"unsafe";"golang.org/x/sys/unix";"path/filepath")
type xargs struct{ value uint64; size uint32; flags uint32 }
func BenchmarkXattr(b *testing.B) {
	for _, base := range []string{b.TempDir(), memory(b)} {
	fill(b, base, 1000)
	for i := range 1000 { unix.Setxattr(filepath.Join(base, fmt.Sprintf("File number %d", i)), dosAttrib, encodeDOS(dosInfo{}, false), 0) }
	fd, _ := unix.Open(base, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	var st unix.Statx_t
	b.Run("statx", func(b *testing.B) { for i := 0; b.Loop(); i++ { statxAt(fd, fmt.Sprintf("File number %d", i%1000), &st) } })
	b.Run("lget", func(b *testing.B) { var buf [512]byte; for i := 0; b.Loop(); i++ { n, err := unix.Lgetxattr(proc(fd)+"/"+fmt.Sprintf("File number %d", i%1000), dosAttrib, buf[:]); if n != 24 { b.Fatal(n, err) } } })
	b.Run("getat", func(b *testing.B) { var buf [512]byte; for i := 0; b.Loop(); i++ {
		name, _ := unix.BytePtrFromString(fmt.Sprintf("File number %d", i%1000)); attr, _ := unix.BytePtrFromString(dosAttrib)
		a := xargs{value: uint64(uintptr(unsafe.Pointer(&buf[0]))), size: 512}
		n, _, e := unix.Syscall6(464, uintptr(fd), uintptr(unsafe.Pointer(name)), unix.AT_SYMLINK_NOFOLLOW, uintptr(unsafe.Pointer(attr)), uintptr(unsafe.Pointer(&a)), unsafe.Sizeof(a)); if n != 24 { b.Fatal(n, e) } } })
	_ = os.Stdout
	}
}
