/** Compiles one elementwise kernel and runs it, for `widening.test.ts` to read V8's trace of it. */
import { setFlagsFromString } from 'node:v8'
import { binary, constant, load, unary } from '../../kernels/ir/expression.ts'
import { mapKernel } from '../../kernels/wasm/elementwise/map.ts'
import { runKernel } from './run.ts'

const [x, y] = [load(0, 'f32'), load(1, 'f32')]
const chains: Readonly<Record<string, typeof x>> = {
  add: binary('add', x, y),
  silu: binary('mul', x, unary('sigmoid', x)),
  gelu: binary('mul', binary('mul', x, constant(0.5, 'f32')), binary('add', constant(1, 'f32'), unary('erf', binary('mul', x, constant(Math.SQRT1_2, 'f32'))))),
  waves: binary('add', unary('sin', x), unary('cos', binary('mul', x, y))),
  logs: binary('max', unary('log1p', x), binary('div', unary('tanh', y), unary('expm1', x))),
}
const value = chains[process.argv[2] ?? ''] ?? x
// Only now, lest Node's own modules show in the trace.
for (const flag of ['experimental-wasm-revectorize', 'no-liftoff', 'trace-wasm-revectorize']) setFlagsFromString(`--${flag}`)
const operand = { dtype: 'f32', strides: [1], offset: 0 } as const
runKernel(mapKernel({ shape: [64], inputs: [operand, operand], outputs: [{ operand, value }] }), [1, 2, 3].map(() => new Uint8Array(256)))
