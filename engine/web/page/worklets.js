// The two ends of the sound card: frames out of it, samples into it. Both run
// on the audio thread, which waits for nobody.

const FRAME = 960; // samples of 20 ms at 48 kHz, one Opus packet

// Capture cuts what it hears into frames and posts them.
class Capture extends AudioWorkletProcessor {
  constructor() {
    super();
    this.frame = new Float32Array(FRAME);
    this.n = 0;
  }

  process([input]) {
    const heard = input[0];
    if (!heard) return true;
    for (let at = 0; at < heard.length;) {
      const take = Math.min(heard.length - at, FRAME - this.n);
      this.frame.set(heard.subarray(at, at + take), this.n);
      at += take;
      this.n += take;
      if (this.n === FRAME) {
        this.port.postMessage(this.frame, [this.frame.buffer]);
        this.frame = new Float32Array(FRAME);
        this.n = 0;
      }
    }
    return true;
  }
}

const STEP = FRAME;         // by which the wanted depth grows and shrinks
const LEAST = 2 * FRAME;    // wanted depth: 40 ms on a quiet network
const MOST = 10 * FRAME;    // and 200 ms on a bad one
const SLACK = 6 * FRAME;    // above the wanted depth before the oldest go
const CALM = 10 * 48000;    // samples without a gap until it shrinks
const SIZE = 1 << 15;       // samples of the ring, 683 ms

// Playout is a jitter buffer: it begins when enough waits, falls silent when
// nothing does and then wants more, and skips ahead when too much does.
class Playout extends AudioWorkletProcessor {
  constructor() {
    super();
    this.ring = new Float32Array(SIZE);
    this.read = 0;
    this.depth = 0;
    this.want = LEAST + STEP;
    this.playing = false;
    this.calm = 0;
    this.gaps = 0;
    this.skipped = 0;
    this.blocks = 0;
    this.over = false;
    this.port.onmessage = ({ data }) => {
      if (data === 'end') this.over = true;
      else this.push(data);
    };
  }

  push(pcm) {
    if (this.depth + pcm.length > this.want + SLACK) {
      const skip = Math.min(this.depth, this.depth + pcm.length - this.want);
      this.read = (this.read + skip) % SIZE;
      this.depth -= skip;
      this.skipped += skip;
    }
    const room = Math.min(pcm.length, SIZE - this.depth);
    for (let i = 0; i < room; i++) this.ring[(this.read + this.depth + i) % SIZE] = pcm[i];
    this.depth += room;
    this.skipped += pcm.length - room;
  }

  process(_, [output]) {
    const out = output[0];
    if (!this.playing && this.depth >= this.want) this.playing = true;
    if (this.playing) {
      const n = Math.min(out.length, this.depth);
      for (let i = 0; i < n; i++) out[i] = this.ring[(this.read + i) % SIZE];
      this.read = (this.read + n) % SIZE;
      this.depth -= n;
      this.calm += n;
      if (n < out.length) {
        for (let i = 0; i < n; i++) out[i] *= 1 - i / n; // no click
        this.playing = false;
        this.gaps++;
        this.calm = 0;
        this.want = Math.min(this.want + STEP, MOST);
      } else if (this.calm > CALM) {
        this.calm = 0;
        this.want = Math.max(this.want - STEP, LEAST);
      }
    }
    if (++this.blocks % 64 === 0) {
      this.port.postMessage({ depth: this.depth / 48, want: this.want / 48, gaps: this.gaps, skipped: this.skipped / 48 });
    }
    return !this.over;
  }
}

registerProcessor('capture', Capture);
registerProcessor('playout', Playout);
