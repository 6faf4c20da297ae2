package wire

import (
	"encoding/binary"
	"errors"
	"math"
)

// Sizes of the fixed parts of a media packet in bytes (2.1, 2.3).
const (
	HeaderSize = 12
	ReportSize = 4
)

// Why a media packet is malformed (2.1). Parse returns them unwrapped.
var (
	ErrShort   = errors.New("wire: media packet shorter than its header")
	ErrCodec   = errors.New("wire: media packet of an unknown codec")
	ErrTrailer = errors.New("wire: media packet promises a quality report it has no room for")
)

// Header is the 12-byte media header (2.1). The fields are those of the wire;
// only Seq and HasReport matter to a relay.
type Header struct {
	Version   uint8 // 1 bit, not checked
	Repair    bool  // an FEC repair symbol
	Codec     Codec
	HasReport bool  // a QualityReport ends the packet
	FEC       uint8 // 7 bits: FEC ratio times 63.5
	Seq       uint16
	Timestamp uint32 // opaque: milliseconds or samples, as the client likes
	FECBlock  uint8
	FECSymbol uint8
	Reserved  uint8
	CSRCCount uint8
}

// FECRatio is the repair ratio the FEC field stands for, 0 to 2.
func (h Header) FECRatio() float32 { return float32(h.FEC) / 63.5 }

// EncodeFEC is the FEC field for a repair ratio: clamped to 0..127.
func EncodeFEC(ratio float32) uint8 {
	v := math.Round(float64(ratio) * 63.5)
	if !(v > 0) { // NaN too
		return 0
	}
	return uint8(min(v, 127))
}

// QualityReport is the trailer a client adds about once a second (2.3), and
// the object of the same name in JSON (3.3).
type QualityReport struct {
	Loss    uint8 // 0..255 stands for 0..100 %
	RTT4    uint8 // round trip in units of 4 ms, saturating
	Jitter  uint8 // ms, saturating
	CapKbps uint8 // always 200 from current clients
}

// NewReport builds a report as clients do: loss in percent truncated, all
// values clamped, the cap 200 kbit/s.
func NewReport(lossPct float64, rttMS, jitterMS int) QualityReport {
	return QualityReport{
		Loss:    uint8(max(0, min(lossPct/100*255, 255))),
		RTT4:    uint8(max(0, min(rttMS/4, 255))),
		Jitter:  uint8(max(0, min(jitterMS, 255))),
		CapKbps: 200,
	}
}

// LossPct is the reported loss in percent.
func (r QualityReport) LossPct() float64 { return float64(r.Loss) * 100 / 255 }

// RTTMS is the reported round trip in milliseconds; 1020 means that or more.
func (r QualityReport) RTTMS() int { return int(r.RTT4) * 4 }

// JitterMS is the reported jitter in milliseconds; 255 means that or more.
func (r QualityReport) JitterMS() int { return int(r.Jitter) }

// Packet is a parsed media packet.
type Packet struct {
	Header
	Report  QualityReport // valid if HasReport
	Payload []byte        // part of the parsed datagram; may be empty
}

// Parse reads a media packet by the rules of 2.1. It allocates nothing and the
// payload aliases pkt.
func Parse(pkt []byte) (Packet, error) {
	if len(pkt) < HeaderSize {
		return Packet{}, ErrShort
	}
	p := Packet{Header: Header{
		Version:   pkt[0] >> 7,
		Repair:    pkt[0]&0x40 != 0,
		Codec:     Codec(pkt[0] >> 2 & 0x0F),
		HasReport: pkt[0]&0x02 != 0,
		FEC:       pkt[0]&0x01<<6 | pkt[1]>>2,
		Seq:       binary.BigEndian.Uint16(pkt[2:]),
		Timestamp: binary.BigEndian.Uint32(pkt[4:]),
		FECBlock:  pkt[8],
		FECSymbol: pkt[9],
		Reserved:  pkt[10],
		CSRCCount: pkt[11],
	}}
	if !p.Codec.Valid() {
		return Packet{}, ErrCodec
	}
	p.Payload = pkt[HeaderSize:]
	if p.HasReport {
		n := len(p.Payload) - ReportSize
		if n < 0 {
			return Packet{}, ErrTrailer
		}
		t := p.Payload[n:]
		p.Report = QualityReport{Loss: t[0], RTT4: t[1], Jitter: t[2], CapKbps: t[3]}
		p.Payload = p.Payload[:n:n]
	}
	return p, nil
}

// AppendHeader appends the 12 bytes of h. Bits beyond a field's width are cut
// off; the two unused bits are 0.
func AppendHeader(dst []byte, h Header) []byte {
	b0 := h.Version&1<<7 | uint8(h.Codec)&0x0F<<2 | h.FEC>>6&1
	if h.Repair {
		b0 |= 0x40
	}
	if h.HasReport {
		b0 |= 0x02
	}
	dst = append(dst, b0, h.FEC&0x3F<<2)
	dst = binary.BigEndian.AppendUint16(dst, h.Seq)
	dst = binary.BigEndian.AppendUint32(dst, h.Timestamp)
	return append(dst, h.FECBlock, h.FECSymbol, h.Reserved, h.CSRCCount)
}

// AppendReport appends the 4 bytes of r.
func AppendReport(dst []byte, r QualityReport) []byte {
	return append(dst, r.Loss, r.RTT4, r.Jitter, r.CapKbps)
}

// AppendPacket appends the whole packet, the report if HasReport is set.
func AppendPacket(dst []byte, p Packet) []byte {
	dst = AppendHeader(dst, p.Header)
	dst = append(dst, p.Payload...)
	if p.HasReport {
		dst = AppendReport(dst, p.Report)
	}
	return dst
}
