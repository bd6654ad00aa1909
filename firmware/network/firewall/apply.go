package firewall

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// table is the name of ours.
const table = "postern"

// chains in the order in which they are made: those that are jumped to come first.
var chains = []struct {
	name     string
	hook     *nftables.ChainHook
	priority *nftables.ChainPriority
	policy   nftables.ChainPolicy
}{
	{name: Local},
	{name: Neighbor},
	{Early, nftables.ChainHookPrerouting, nftables.ChainPriorityRaw, nftables.ChainPolicyAccept},
	{EarlyOut, nftables.ChainHookOutput, nftables.ChainPriorityRaw, nftables.ChainPolicyAccept},
	{Input, nftables.ChainHookInput, nftables.ChainPriorityFilter, nftables.ChainPolicyDrop},
	{Forward, nftables.ChainHookForward, nftables.ChainPriorityFilter, nftables.ChainPolicyDrop},
}

// Apply puts the rules in place of those before, all in one transaction of the kernel's. It needs the kernel's nf_tables,
// nft_ct and nft_limit, and the right to use them.
func Apply(rules []Rule) error {
	c, err := nftables.New()
	if err != nil {
		return fmt.Errorf("nftables: %w", err)
	}
	t := &nftables.Table{Family: nftables.TableFamilyINet, Name: table}
	c.AddTable(t) // so that there is one to delete
	c.DelTable(t)
	c.AddTable(t)
	made := map[string]*nftables.Chain{}
	for _, ch := range chains {
		n := &nftables.Chain{Name: ch.name, Table: t}
		if ch.hook != nil {
			n.Type, n.Hooknum, n.Priority, n.Policy = nftables.ChainTypeFilter, ch.hook, ch.priority, &ch.policy
		}
		made[ch.name] = c.AddChain(n)
	}
	for _, r := range rules {
		ch := made[r.Chain]
		if ch == nil {
			return fmt.Errorf("nftables: no chain %q", r.Chain)
		}
		c.AddRule(&nftables.Rule{Table: t, Chain: ch, Exprs: r.expressions()})
	}
	if err := c.Flush(); err != nil {
		return fmt.Errorf("nftables: %w", err)
	}
	return nil
}

// Remove takes our table away, so that everything comes in.
func Remove() error {
	c, err := nftables.New()
	if err != nil {
		return fmt.Errorf("nftables: %w", err)
	}
	t := &nftables.Table{Family: nftables.TableFamilyINet, Name: table}
	c.AddTable(t)
	c.DelTable(t)
	return c.Flush()
}

// protocols are IP's numbers.
var protocols = map[string]byte{"tcp": unix.IPPROTO_TCP, "udp": unix.IPPROTO_UDP, "icmp": unix.IPPROTO_ICMP, "icmpv6": unix.IPPROTO_ICMPV6}

// expressions are the rule in the kernel's machine, register 1 for all.
func (r Rule) expressions() (all []expr.Any) {
	equal := func(v []byte) { all = append(all, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: v}) }
	meta := func(key expr.MetaKey, v []byte) {
		all = append(all, &expr.Meta{Key: key, Register: 1})
		equal(v)
	}
	transport := func(offset, length uint32) {
		all = append(all, &expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: offset, Len: length})
	}
	if r.In != "" {
		name := make([]byte, unix.IFNAMSIZ)
		copy(name, r.In)
		meta(expr.MetaKeyIIFNAME, name)
	}
	if r.State != "" {
		bits := uint32(expr.CtStateBitINVALID)
		if r.State == "known" {
			bits = expr.CtStateBitESTABLISHED | expr.CtStateBitRELATED
		}
		all = append(all, &expr.Ct{Key: expr.CtKeySTATE, Register: 1},
			&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: binaryutil.NativeEndian.PutUint32(bits), Xor: make([]byte, 4)},
			&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)})
	}
	if r.Source.IsValid() {
		all = append(all, source(r.Source)...)
	}
	if r.Proto != "" {
		meta(expr.MetaKeyL4PROTO, []byte{protocols[r.Proto]})
	}
	switch r.Proto {
	case "icmp", "icmpv6":
		transport(0, 1)
		equal([]byte{r.Type})
	case "tcp", "udp":
		if r.From != 0 {
			transport(0, 2)
			equal(binary.BigEndian.AppendUint16(nil, r.From))
		}
		if r.To != 0 {
			transport(2, 2)
			equal(binary.BigEndian.AppendUint16(nil, r.To))
		}
	}
	if r.PerSecond != 0 {
		all = append(all, &expr.Limit{Type: expr.LimitTypePkts, Rate: r.PerSecond, Unit: expr.LimitTimeSecond, Burst: 5})
	}
	switch r.Verdict {
	case Accept:
		all = append(all, &expr.Verdict{Kind: expr.VerdictAccept})
	case Drop:
		all = append(all, &expr.Verdict{Kind: expr.VerdictDrop})
	case NoTrack:
		all = append(all, &expr.Notrack{})
	default:
		all = append(all, &expr.Verdict{Kind: expr.VerdictJump, Chain: string(r.Verdict)})
	}
	return all
}

// source matches a sender's network.
func source(p netip.Prefix) []expr.Any {
	family, offset, size := byte(unix.NFPROTO_IPV4), uint32(12), uint32(4)
	if p.Addr().Is6() {
		family, offset, size = unix.NFPROTO_IPV6, 8, 16
	}
	mask := make([]byte, size)
	for i := range p.Bits() {
		mask[i/8] |= 0x80 >> (i % 8)
	}
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{family}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: size},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: size, Mask: mask, Xor: make([]byte, size)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: p.Masked().Addr().AsSlice()},
	}
}
