/**
 * AdamW (Loshchilov and Hutter 2019) over a list of tensors in one launch, with an exponential moving
 * average of the parameters if wanted. Items are chunks of at most 8192 elements of one tensor.
 *
 * Every operation rounds to f32, none is fused, in this order. Scalars first:
 *   decay = 1 − lr·weightDecay     a = 1 − beta1     b = 1 − beta2
 *   size = lr / correction1        root = 1 / √correction2
 * then for every element:
 *   g′ = g·gradScale
 *   m′ = m + a·(g′ − m)
 *   v′ = beta2·v + b·(g′·g′)
 *   p′ = p·decay − (size·m′) / (√v′·root + eps)
 *   ema′ = ema + emaWeight·(p′ − ema)
 * If `apply` is 0 every output is a copy of its input, bit for bit, whatever g holds.
 * Outputs may be the corresponding inputs.
 */
import type { AdamwDescriptor } from '../../ir/descriptor.ts'
import { type Code, f32, f32x4, type Local, set, when } from '../core/assembler.ts'
import { Arguments } from '../core/arguments.ts'
import { chunkTable, eachChunk, smallSize } from './chunks.ts'
import type { WasmKernel } from '../core/kernel.ts'
import { Lanes, squareRoot, Uniform } from '../core/lanes.ts'
import { rounds, type Step } from '../core/rounds.ts'

/** What the f32 of the `scalars` buffer mean, in order. `correction1` is 1 − beta1ᵗ, `correction2` is 1 − beta2ᵗ. */
const adamwScalars = ['lr', 'beta1', 'beta2', 'eps', 'weightDecay', 'correction1', 'correction2', 'gradScale', 'emaWeight', 'apply'] as const

/** Inputs scalars [10], then p, g, m, v, (ema) of each tensor; outputs p, m, v, (ema) of each tensor. */
export function adamwKernel({ sizes, ema }: AdamwDescriptor): WasmKernel {
  const args = new Arguments()
  const inputs = ema ? 5 : 4
  const outputs = ema ? 4 : 3
  const scalars = args.buffer(0)
  const firstOutput = 1 + inputs * sizes.length
  const inputList = (k: number): Local => args.pointers(sizes.map((_, i) => 1 + inputs * i + k))
  const outputList = (k: number): Local => args.pointers(sizes.map((_, i) => firstOutput + outputs * i + k))
  const lists = Array.from({ length: inputs }, (_, k) => inputList(k))
  const results = Array.from({ length: outputs }, (_, k) => outputList(k))
  const chunks = chunkTable(sizes)
  const table = args.table()
  const elements = sizes.reduce((a, b) => a + b, 0)
  return {
    key: `adamw${ema ? ' ema' : ''}`,
    args: args.list,
    items: chunks.length / 3,
    table: chunks,
    flops: elements * (ema ? 17 : 14),
    bytes: 4 * elements * (inputs + outputs),
    small: () => {
      const largest = sizes.indexOf(Math.max(...sizes))
      const operands = [0, ...lists.map((_, k) => 1 + inputs * largest + k), ...results.map((_, k) => firstOutput + outputs * largest + k)]
      return { kernel: adamwKernel({ sizes: [Math.min(smallSize, sizes[largest] ?? 0)], ema }), operands }
    },
    build() {
      const f = args.open()
      const lanes = new Lanes(f, false)
      const value = (name: (typeof adamwScalars)[number]): Code => f32.load(scalars, 4 * adamwScalars.indexOf(name))
      const oneMinus = (x: Code): Code => f32.sub(1, x)
      const setup: Code[] = []
      const scalar = (code: Code): Uniform => {
        const local = new Uniform(f)
        setup.push(local.set(code))
        return local
      }
      const [gradScale, beta2, eps, emaWeight] = [scalar(value('gradScale')), scalar(value('beta2')), scalar(value('eps')), scalar(value('emaWeight'))]
      const [a, b] = [scalar(oneMinus(value('beta1'))), scalar(oneMinus(value('beta2')))]
      const decay = scalar(oneMinus(f32.mul(value('lr'), value('weightDecay'))))
      const size = scalar(f32.div(value('lr'), value('correction1')))
      const root = scalar(f32.div(1, squareRoot(value('correction2'))))

      const arrays = [...lists, ...results].map((list) => ({ list, at: f.local('i32') }))
      const { add, sub, mul, div, sqrt } = f32x4
      const update = (step: Step): Code => {
        const { vectors } = step
        const [load, compute]: [Code[], Code[]] = [[], []]
        const store: Code[][] = results.map(() => [])
        for (let u = 0; u < vectors; u++) {
          const [p, g, m, v, average] = lists.map((_, k) => {
            const local = lanes.temporary()
            load.push(set(local, step.load(k, u)))
            return local
          })
          if (p === undefined || g === undefined || m === undefined || v === undefined) continue
          compute.push(
            set(g, mul(g, gradScale.of(vectors))),
            set(m, add(m, mul(a.of(vectors), sub(g, m)))),
            set(v, add(mul(beta2.of(vectors), v), mul(b.of(vectors), mul(g, g)))),
            set(p, sub(mul(p, decay.of(vectors)), div(mul(size.of(vectors), m), add(mul(sqrt(v), root.of(vectors)), eps.of(vectors))))),
            average === undefined ? [] : set(average, add(average, mul(emaWeight.of(vectors), sub(p, average)))),
          )
          ;[p, m, v, ...(average === undefined ? [] : [average])].forEach((result, k) => store[k]?.push(step.store(inputs + k, u, result)))
        }
        return [load, compute, store]
      }
      /** Output k is input p, m, v or ema. */
      const copy = (step: Step): Code => results.map((_, k) => step.store(inputs + k, 0, step.load(k === 0 ? 0 : k + 1, 0)))
      const code = eachChunk(f, table, ({ count, locate }) => {
        const walk = (vectors: number, scalar: boolean, body: (step: Step) => Code): Code => rounds(lanes, arrays.map(({ at }) => at), count, vectors, scalar, body)
        return [
          arrays.map(({ list, at }) => locate(list, at)),
          when(f32.ne(value('apply'), 0), [walk(2, false, update), walk(1, true, update)], [walk(1, false, copy), walk(1, true, copy)]),
        ]
      })
      f.emit(lanes.setup, setup, code)
      return f
    },
  }
}
