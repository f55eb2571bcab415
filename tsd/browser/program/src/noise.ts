/** The random numbers of PyTorch's generator on a CPU, so that a seed means the same here as in Python. */

const N = 624;
const M = 397;

/** Mersenne Twister, MT19937 (Matsumoto and Nishimura 1998). */
export class Random {
  private state = new Uint32Array(N);
  private next = N;

  constructor(seed: number) {
    this.state[0] = seed >>> 0;
    for (let i = 1; i < N; i++) {
      const x = this.state[i - 1] ^ (this.state[i - 1] >>> 30);
      this.state[i] = (Math.imul(x, 1812433253) + i) >>> 0;
    }
  }

  /** 32 bits. */
  bits(): number {
    if (this.next === N) this.renew();
    let y = this.state[this.next++];
    y ^= y >>> 11;
    y ^= (y << 7) & 0x9d2c5680;
    y ^= (y << 15) & 0xefc60000;
    return (y ^ (y >>> 18)) >>> 0;
  }

  private renew(): void {
    const s = this.state;
    for (let i = 0; i < N; i++) {
      const y = (s[i] & 0x80000000) | (s[(i + 1) % N] & 0x7fffffff);
      s[i] = s[(i + M) % N] ^ (y >>> 1) ^ (y & 1 ? 0x9908b0df : 0);
    }
    this.next = 0;
  }

  /** In [0, 1), of 24 bits. */
  uniform(): number {
    return (this.bits() & 0xffffff) / 0x1000000;
  }

  /** `torch.randn` of 16 numbers or more: Box and Muller on blocks of 16, the last block drawn again where it is cut. */
  normal(count: number): Float32Array {
    const out = new Float32Array(count);
    for (let i = 0; i < count; i++) out[i] = this.uniform();
    for (let i = 0; i + 16 <= count; i += 16) pairs(out.subarray(i, i + 16));
    if (count % 16) {
      const last = out.subarray(count - 16);
      for (let i = 0; i < 16; i++) last[i] = this.uniform();
      pairs(last);
    }
    return out;
  }
}

function pairs(block: Float32Array): void {
  for (let i = 0; i < 8; i++) {
    const radius = Math.sqrt(-2 * Math.log(1 - block[i]));
    const angle = 2 * Math.PI * block[i + 8];
    block[i] = radius * Math.cos(angle);
    block[i + 8] = radius * Math.sin(angle);
  }
}
