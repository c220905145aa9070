/**
 * Random words from Philox4x32-10 (see kernels/ir/philox.ts): row r of the output is the stream of key r from
 * the 64-bit counter r, so that a row's bits do not depend on the others.
 *
 * An item is 1024 words of a row. Four counters run at once, two in each pair of 64-bit lanes with
 * the words zero-extended, so that one multiplication gives both halves of a product. The last
 * words of a row come from a full round of four, of which only the needed ones are kept.
 */
import { advance, type Code, i32, i64, i64x2, type Local, loopRange, loopWhile, minimum, set, v128, when } from '../core/assembler.ts'
import { philoxMultipliers, philoxRounds, philoxWeyl } from '../../ir/philox.ts'
import { Arguments, begin, end } from '../core/arguments.ts'
import type { WasmKernel } from '../core/kernel.ts'

const itemWords = 1024

/** Inputs key u32 [rows, 2], counter u32 [rows, 2] (low, high); output u32 [rows, length]. */
export function philoxKernel({ rows, length }: { readonly rows: number; readonly length: number }): WasmKernel {
  const args = new Arguments()
  const [keys, counters, output, scratch] = [args.buffer(0), args.buffer(1), args.buffer(2), args.scratch()]
  const blocks = Math.ceil(length / itemWords)
  const [lengthArg, blocksArg] = [args.number(length), args.number(blocks)]
  return {
    key: 'philox',
    args: args.list,
    items: rows * blocks,
    scratchBytes: 128,
    flops: 25 * rows * length,
    bytes: 4 * rows * length,
    build() {
      const f = args.open()
      const [item, row, first, left, to, from] = [f.local('i32'), f.local('i32'), f.local('i32'), f.local('i32'), f.local('i32'), f.local('i32')]
      const start = f.local('i64')
      const [mask, m0, m1] = [f.local('v128'), f.local('v128'), f.local('v128')]
      const wide = (words: readonly number[]): Code => v128.const(words.flatMap((w) => [w & 255, (w >>> 8) & 255, (w >>> 16) & 255, (w >>> 24) & 255, 0, 0, 0, 0]))
      const keyWords = Array.from({ length: philoxRounds }, () => [f.local('v128'), f.local('v128')] as const)
      const splat = (word: Code): Code => i64x2.splat(i64.extendU(word))
      const rowOf = (base: Local): Code => i32.add(base, i32.shl(row, 3))
      const loadKeys = keyWords.map(([k0, k1], round) => [k0, k1].map((local, j) =>
        set(local, splat(i32.add(i32.load(rowOf(keys), 4 * j), Math.imul(round, philoxWeyl[j === 0 ? 0 : 1]))))))

      const step = f.local('v128')
      const counts = [f.local('v128'), f.local('v128')]
      /** Sixteen words of the four counters at `counts` into `to`, and the counters moved on. */
      const generate = (address: Local): Code => {
        const v = (): Local => f.local('v128')
        /** Of two counters each: their state, and the products of its words. */
        const pairs = counts.map((count) => ({ count, a: v(), b: v(), c: v(), d: v(), p: v(), q: v() }))
        return [
          pairs.map(({ count, a, b, c, d }) => [set(a, v128.and(count, mask)), set(b, i64x2.shru(count, 32)), set(c, 0), set(d, 0), set(count, i64x2.add(count, step))]),
          keyWords.map(([k0, k1]) => [
            pairs.map(({ a, c, p, q }) => [set(p, i64x2.mul(a, m0)), set(q, i64x2.mul(c, m1))]),
            pairs.map(({ a, b, c, d, p, q }) => [
              set(a, v128.xor(v128.xor(i64x2.shru(q, 32), b), k0)),
              set(c, v128.xor(v128.xor(i64x2.shru(p, 32), d), k1)),
              set(b, v128.and(q, mask)),
              set(d, v128.and(p, mask)),
            ]),
          ]),
          pairs.map(({ a, b, c, d, p, q }) => [set(p, v128.or(a, i64x2.shl(b, 32))), set(q, v128.or(c, i64x2.shl(d, 32)))]),
          // Neighbouring stores let 256-bit code form; the words then take their order in 64-bit moves.
          pairs.map(({ p }, n) => v128.store(scratch, p, 16 * n)),
          pairs.map(({ q }, n) => v128.store(scratch, q, 32 + 16 * n)),
          [0, 1, 2, 3].map((counter) => [0, 1].map((half) => i64.store(address, i64.load(scratch, 32 * half + 8 * counter), 16 * counter + 8 * half))),
          pairs.map(({ a, b, c, d, p, q }) => [a, b, c, d, p, q].map((local) => set(local, 0))),
        ]
      }
      f.emit(
        set(mask, wide([0xffffffff, 0xffffffff])), set(m0, wide([philoxMultipliers[0], philoxMultipliers[0]])), set(m1, wide([philoxMultipliers[1], philoxMultipliers[1]])),
        set(step, wide([4, 4])),
        loopRange(item, begin, end, 1, [
          set(row, i32.divu(item, blocksArg)),
          set(first, i32.mul(i32.remu(item, blocksArg), itemWords)),
          set(left, minimum(i32.sub(lengthArg, first), itemWords)),
          set(to, i32.add(output, i32.shl(i32.add(i32.mul(row, lengthArg), first), 2))),
          loadKeys,
          set(start, i64.add(i64.load(rowOf(counters)), i64.extendU(i32.shru(first, 2)))),
          counts.map((count, pair) => set(count, i64x2.add(i64x2.splat(start), wide([2 * pair, 2 * pair + 1])))),
          loopWhile(i32.ge(left, 16), [generate(to), advance(to, 64), set(left, i32.sub(left, 16))]),
          when(left, [
            set(from, i32.add(scratch, 64)),
            generate(from),
            loopWhile(left, [
              i32.store(to, i32.load(from)),
              advance(to, 4), advance(from, 4), set(left, i32.sub(left, 1)),
            ]),
          ]),
        ]),
      )
      return f
    },
  }
}
