// Package smb is an SMB 2 and 3 server: [MS-SMB2] section 3.3, one file a command.
//
// A Server is given shares, mechanisms of authentication and connections; it knows nothing of QUIC, TPMs or
// boards. ServeConn takes any net.Conn that carries the length-prefixed messages of [MS-SMB2] 2.1.
package smb
