/**
 * What the library knows of Unicode by itself, so that one password has the same bytes on every device, however old its
 * tables are. All of it is as of Unicode 13.0 (2020), which every engine that runs this library has.
 */

type Table = () => readonly number[];

/** Ranges in base 36: the distance from the last one's end, and after a dot the range's length less one. */
const table = (text: string): Table => {
  let bounds: number[] | undefined;
  return () => {
    if (bounds) return bounds;
    let last = 0;
    bounds = text.split(' ').flatMap((range) => {
      const [distance = '', length = '0'] = range.split('.');
      const first = last + Number.parseInt(distance, 36);
      last = first + Number.parseInt(length, 36);
      return [first, last + 1];
    });
    return bounds;
  };
};

/**
 * Whether a table has a code point. No table has `undefined`, which stands for the place before or after a
 * text.
 */
export function isIn(of: Table, codePoint: number | undefined): boolean {
  if (codePoint === undefined) return false;
  const bounds = of();
  let low = 0;
  let high = bounds.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((bounds[middle] as number) <= codePoint) low = middle + 1;
    else high = middle;
  }
  return low % 2 === 1;
}

/** Code points that Unicode 13.0 assigns (DerivedAge.txt). */
export const ASSIGNED = table(
  '0.on 3.5 5.6 2 2.j 2.b0 2.11 3.1d 3.2 2.1i 9.q 5.5 c.s 2.6n 2.1n 3.2s f.1m 3.1c 3.e 2.r 3 2.a 1i.k ' +
    '2.h c.4w 2.7 3.1 3.l 2.6 2 4.3 3.8 3.1 3.3 9 5.1 2.4 3.o 3.2 2.5 5.1 3.l 2.6 2.1 2.1 2.1 3 2.4 5.1 ' +
    '3.2 4 8.3 2 8.g b.2 2.8 2.2 2.l 2.6 2.1 2.4 3.9 2.2 2.2 3 g.3 3.b 8.6 2.2 2.7 3.1 3.l 2.6 2.1 2.4 ' +
    '3.8 3.1 3.2 8.2 5.1 2.4 3.h b.1 2.5 4.2 2.3 4.1 2 2.1 4.1 4.2 4.b 5.4 4.2 2.3 3 7 f.k 6.c 2.2 2.m ' +
    '2.f 4.7 2.2 2.3 8.1 2.2 6.3 3.9 8.l 2.2 2.m 2.9 2.4 3.8 2.2 2.3 8.1 8 2.3 3.9 2.1 e.c 2.2 2.1e 2.2 ' +
    '2.5 5.f 3.p 2.2 2.h 4.n 2.8 2 3.6 4 5.5 2 2.7 7.9 3.2 d.1l 5.s 12.1 2 2.4 2.n 2 2.m 3.4 2 2.5 3.9 ' +
    '3.3 x.1z 2.z 5.12 2.z 2.e 2.c 12.5h 2 6 3.ag 2.3 3.6 2 2.3 3.14 2.3 3.w 2.3 3.6 2 2.3 3.e 2.1k 2.3 ' +
    '3.1u 3.v 4.p 7.2d 3.5 3.ik 4.2g 8.c 2.6 c.m a.j d.c 2.2 2.1 d.2l 3.9 7.9 7.e 2.9 7.2g 8.16 6.1x b.u ' +
    '2.b 5.b 5 4.15 3.4 c.17 5.p 7.a 4.1p 3.1s 2.s 3.a 7.9 7.d 3.g 1s.23 5.18 4.37 9.1n 4.e 4.1n 8.16 3.a ' +
    '9.16 6.6x 2.7u 3.5 3.11 3.5 3.7 2 2 2 2.u 3.1g 2.e 2.d 3.5 2.i 3.2 2.8 2.2s 2.b 3.q 2.c 4.v h.w g.3v ' +
    '5.ie q.a m.1eb 3.v 2.47 2.1a 2.43 6.18 2 6 3.1j 8.1 f.n a.6 2.6 2.6 2.6 2.6 2.6 2.6 2.6 2.36 1a.p ' +
    '2.2g d.5x r.b 5.1r 2.2d 3.2u 6.16 2.2l 2.2b d.1a 2.lp8 4.wc 4.1i a.9n l.53 9.5b 3.8 17.1j 4.9 7.1j ' +
    '9.1x 9.b 7.37 c.t 4.25 2.a 5.w 2.1i a.d 3.9 3.2u p.r b.5 3.5 3.5 a.6 2.6 2.1n 5.3h 3.9 7.8mb d.m ' +
    '5.1c 1l1.57x 3.2x 13.6 d.4 6.p 2.4 2 2.1 2.1 2.3f i.a4 h.1r 3.1h 9.19 3.p 7.1e 2.i 2.3 5.4 2.3q 3 ' +
    '2.59 4.5 3.5 3.5 3.2 4.6 2.6 b.i 2.p 2.i 2.1 2.e 3.d z.3e 6.2 5.18 4.2f 2.c 4 1c.19 3n.s 4.1c g.r ' +
    '5.z a.t 6.16 6.t 2.10 5.d 17.4d 3.9 7.z 5.z 5.13 9.1f c 41.8m a.l b.7 49.5 3 2.17 2.1 4 3.m 2.1z 9.8 ' +
    '1d.i 2.1 6.w 4.q 6 1t.1j 5.j 3.1d 2.1 6.7 2.2 2.s 3.2 5.9 8.8 8.1r x.12 5.b a.1h 4.s 3.q 6.p 8.3 d.6 ' +
    '29.20 1k.1e e.1e 8.19 9.9 87.u 2.15 2.2 3.1 27.13 9.15 2f.r l.m a.25 5.t g.1u c 3.o 8.9 7.1g 2.h ' +
    '9.12 a.2n 2.j c.h 2.17 1u.6 2 2.3 2.e 2.a 7.1m 6.9 7.3 2.7 3.1 3.l 2.6 2.1 2.4 2.9 3.1 3.2 3 7 6.6 ' +
    '3.6 4.4 3w.2j 2.4 v.1z 9.9 4n.1h 3.11 z.1w c.9 7.c k.1k 8.9 1j.q 3.e 5.f 5d.1n 2t.2a d.7 3 3.7 2.1 ' +
    '2.t 2.1 3.b a.9 1z.7 3.19 3.a s.1z 9.2a u.1k 7c.8 2.18 2.d b.s 4.v 3.l 2.d 22.6 2.1 2.17 4 2.1 2.8 ' +
    '9.9 7.5 2.1 2.10 2.1 2.5 8.9 8n.o 54 g.1d e.pm 2v.32 2.4 c.5f 24d.tq 2.8 348.g6 6nu.fs 8.u 2.9 5.1 ' +
    '2p.t 3.5 b.1x b.9 2.6 2.k 6.i j5.2i 2u.22 5.1k 8.g 1t.4 c.1 f.4qf 9.yd 17.8 6wo.7y 1e.2 i.3 9.az ' +
    '1s5.2y 6.c 4.8 8.9 3.7 3tp.6t b.12 3.5b o.1x 4b.j d.2e a.o 3s.2c 2.1y 2.1 3 3.1 3.3 2.b 2 2.6 2.1s ' +
    '2.3 3.7 2.6 2.r 2.3 2.4 2 4.6 2.9f 3.83 3.jh g.4 2.e 11t.6 2.g 3.6 2.1 2.4 5y.18 4.d 3.9 5.1 a9.1l 6 ' +
    'zl.5g 3.f 16.23 5.9 5.1 lu.1v 25.1o 5f.3 2.q 2.1 2 3 2.9 2.3 2 2 7 5 2 2 2.2 2.1 2 3 2 2 2 2 2.1 2 ' +
    '3.3 2.6 2.3 2.3 2 2.9 2.g 6.2 2.4 2.g 1h.1 7j.17 5.2r d.e 3.e 2.e 2.10 b.4t 1l.s e.17 5.8 8.1 f.5 ' +
    '4b.rb 9.c 4.c 4.37 d.2g 8.b l.b 5.1j 9.9 7.13 9.t 3.1 27.3c 2.29 2.3q d.d 3.4 4.2 6.6 a.o 8.6 a.2 ' +
    'e.6 16.42 2.1i 12.9 sl.wyn z.378 c.65 3.4g1 f.5rk 2e8.f1 15t.3t8 1ar8.1 1ekf.1 1ekf.1 1ekf.1 1ekf.1 ' +
    '1ekf.1 1ekf.1 1ekf.1 1ekf.1 1ekf.1 1ekf.1 2 v.2n 3l.6n 1e6n.2t4x',
);

/** Refused wherever they stand: RFC 8264, sections 9.6 and 9.9 to 9.13; RFC 8265 has no use for them. */
export const DISALLOWED = table(
  '0.v 2o.w e iq j5.5 n 10 4d 1e 6j 6g 1lq.73 14l.1 2h 1kt 3.1 p.6 1e.f 33z.1 2.4 6 89 np8.s 94k.m 5.1c ' +
    '5.6in y9.v 7k 4h 28.b 3.1 3b2 g 6zn.8 qy0.3 440.7 96s.1 1ekf.1 1ekf.1 1ekf.1 1ekf.1 1ekf.1 1ekf.1 ' +
    '1ekf.1 1ekf.1 1ekf.1 1ekf.1 1ekf.1 1ekf.x 2p.3j 6p.2rz 1ben.2t4x',
);

/** Canonical_Combining_Class=Virama. */
export const VIRAMA = table(
  '1u5 3k 3k 3k 3k 3k 3k 3k 32.1 h 3h 34 3k 5m 51.1 1cq w 4e i6 6c 2u.1 1z.1 3gs o7b 12 48 3z 31 8m 6v ' +
    'imq 16v 1l 1m 3e.1 3w 39 51 2r 6t 3k 71 3k 3b 39 7i 78.1 4i 2c j 2a bq 79.1 2a',
);

/** Joining_Type=L or D. */
export const JOINS_NEXT = table(
  '17k 6 2 2.4 5.c 2.6 2.1 10.1 9.f j.11 2.1 a 2 2.1 15.2 3 j.2 6.3 2.8 2 2 2.1 w.a 4.e 3.3 2 3.2 3.5 ' +
    '23.w 2f.4 3 2.9 2 b 2.3 3 1k.9 6.1 3.1 2.2 2.d 30g p.2g f.x 2 sd2.1e jf2.4 9 6.9 2.2 b.3 42 2 4.2 ' +
    '2.1 2 3 t.1 9e.x 2 el.2 2.g d.2 2l 2.1 5 3.1 2.1 2 3 6.1 16wl.1v',
);

/** Joining_Type=R or D. */
export const JOINS_LAST = table(
  '17k 2.t 2.9 10.1 2.2 2.2m 2 p.1 b.2 3 h 2.t u.1e 23.w 2e.o 8 2.3 2.3 1i.c 2.6 2.h 30g p.2g f.x 2 ' +
    'sd2.1d jf3.5 2 2.1 4.8 2.9 3 7.4 41.h o.5 9f.y el.k d.3 2k 2.4 2.7 2.3 5.1 16wm.1v',
);

/** Joining_Type=T. */
export const TRANSPARENT = table(
  '4t gj.33 7o.6 7c.18 2 2.1 2.1 2 21.a 2 1b.k h 2u.6 3.5 3.1 2.3 y 2 v.q 2k.a 1n.8 a p.3 2.8 2.2 2.4 ' +
    '18.2 3c.e 2.v 1k 2 5.7 5 4.6 b.1 u 1n 5.3 9 l.1 r 3.1 1m 5.1 5.1 3.2 4 v.1 4 c.1 1m 5.4 2.1 5 l.1 ' +
    'n.5 2 1n 3 2.3 9 8.1 c.1 v 1q d 1f 4 1m.2 6.2 2.3 8.1 c.1 u 1n 3 7 6.1 l.1 t.1 1m.1 5.3 9 l.1 u 21 ' +
    '8.2 2 2j 3.6 d.7 2r 3.8 c.5 23.1 s 2 2 1k.d 2.4 2.1 6.a 2.z a 2v.3 2.5 2.1 3.1 q.1 5.2 h.3 e 3.1 7 g ' +
    'jk.2 qb.2 u.1 v.1 v.1 1t.1 2.6 9 3.a a 1a.2 3c.1 z 3b.2 5.1 a 7.2 64.1 3 1n 2.6 2 2 3.7 7.9 3 1d.g ' +
    '1s.3 1d 2.4 2 6 15.8 d.1 x.3 3.1 2.2 1l 2.1 4 2.2 1n.7 3.1 49.2 2.c 2.6 5 7 4.1 5j.1l 2.4 ek 3.1 r.4 ' +
    '1e.4 6.5 2p.w 2db.2 3y 2p.v ff.3 30.1 n9x.3 2.9 x.1 29.1 7l 4 5 q.1 6 48.1 r.h e 13.7 q.a 1b.2 1d ' +
    '3.3 3.1 14 1w.5 3.1 3.1 d 9 1c 1g 2.2 3.1 6.1 2 17.1 9 6n 3 5 fn5 ki.f h.f 5s 6y.2 ea 6b 46.4 1af.2 ' +
    '2.1 6.3 15.2 5 4m.1 fy.3 as.1 4a.a 4x 1j.e 1l.2 1e.3 3.1 1y.2 11.4 2.7 1r d.1 1h.8 b.3 3 2o.2 3 2.1 ' +
    '7 4h 4.7 m.1 1m.1 4 12.6 4.4 5g.7 3.2 2 o 2d.5 2 5.1 2.1 6n.3 7.1 2.1 s.1 2e.7 3 2.1 2z 2 3.5 2 2u.2 ' +
    '3.3 2.4 78.8 2.1 75.1 2 5 41.3 3.1 5 x.9 15.5 3.3 9 a.5 3.2 1b.c 2.1 bb.6 2.5 2 2b.l 3.6 2.1 2.1 ' +
    '3f.5 4 2.1 2.6 2 21.1 4 2 9o.1 470.8 at4.4 1o.6 t5 1s.3 2a f5l.1 2.3 43o.2 a.f 3.6 v.3 45.2 1j0.1i ' +
    '5.1d 9 f n.4 2.e 11t.6 2.g 3.6 2.1 2.4 7a.6 c6.3 15t.6 32.7 gzau v.2n 3l.6n',
);

/** Script=Greek. */
export const GREEK = table(
  'og.3 2.2 3.3 2 5 2 2.2 2 2.j 2.1q f.f 4yv.4 1f.4 5.4 2d 8x.l 3.5 3.11 3.5 3.7 2 2 2 2.u 3.1g 2.e 2.d ' +
    '3.5 2.i 3.2 2.8 88 rb3 gyj.26 i 155s.1x',
);

/** Script=Hebrew. */
export const HEBREW = table('13l.1i 9.q 5.5 1cfd.p 2.4 2 2.1 2.1 2.9');

/** Script=Hiragana, Katakana or Han. */
export const JAPANESE = table(
  '96o.p 2.2g d.5x 1c 2 q.8 f.3 6.2d 7.2 2.2h 3.2 6p.f 5t.1a 2.2f 4p.533 1t.g70 hl0.a5 3.2x wd.9 2.18 ' +
    'm6d.1 d.1 cnj.7y 1e.2 i.3 crd 2rk.wyl z.378 c.65 3.4g1 f.5rk 2e8.f1 15v.3t6',
);

/** Extended_Pictographic (emoji-data.txt), with what it keeps for emoji to come. */
export const PICTOGRAPH = table(
  '4p 5 68e d 61 n 2j.5 g.1 a8.1 d 2o 1z q.a 5.2 5k 6g.1 b a 1n.3 2.5 2.b 2.35 b.39 3.a 2 2 7 4 7 b.1 g ' +
    '3 5 2 5.2 2 c.4 1a.2 a f f ad.1 cw.2 k.1 1g 5 yj d gq 2 2fzb.73 e.2 w 1p.5 d.1 f 3.9 j.1k s.e b l ' +
    '3.8 2.3 a.c1 6.8t 9.7d 1d.3j 39.b 2e.16 d.3 1l.7 b.5 15.7 v.29 d.1a 2.9 2.c8 75.sd',
);
