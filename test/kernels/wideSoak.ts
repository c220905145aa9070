/** One random kernel in 256 bits beside itself in 128: see `wideSoak.test.ts`. */
import { compileOptimised } from '../../engine/platform.node.ts'
import { placeAlone } from '../../kernels/wasm/core/alone.ts'
import { markModule } from '../../kernels/wasm/core/assembler.ts'
import type { WasmTarget } from '../../kernels/wasm/core/kernel.ts'
import { drawsFrom, wideCase } from './wideCases.ts'

const rare = [0, -0, 1, -1, Infinity, -Infinity, NaN, 1e-40, 3e38, 2 ** 24]

let number = 0

/** What is wrong with the 256-bit code of kernel `seed`, or undefined. */
export function disagreement(seed: number): { readonly kind: string; readonly wrong: string | undefined } {
  const { kind, make, sizes } = wideCase(seed)
  // Where taps are merged, as they are or are not at either width, what lies beyond the image is multiplied, too: 0·∞ is NaN.
  const all = kind !== 'convWeightGrad'
  const run = (target: WasmTarget, wide: boolean): readonly Float32Array[] => {
    // A mark of its own: equal bytes compiled two ways would meet in V8's cache.
    const { buffers, run: start } = placeAlone(make(target), sizes, (bytes) => compileOptimised(markModule(bytes, `soak ${number++}`), wide))
    const draw = drawsFrom(~seed)
    buffers.forEach((buffer) => buffer.forEach((_, i) => {
      const x = draw()
      const special = rare[Math.floor(draw() * rare.length)] ?? 0
      buffer[i] = x < 0.01 && (all || Number.isFinite(special)) ? special : 4 * x - 1.5
    }))
    start()
    return buffers
  }
  const [plain, wide] = [run({ relaxed: true }, false), run({ relaxed: true, wide: true }, true)]
  const differs = plain.findIndex((buffer, b) => buffer.some((x, i) => !Object.is(x, wide[b]?.[i])))
  if (differs < 0) return { kind, wrong: undefined }
  const at = plain[differs]?.findIndex((x, i) => !Object.is(x, wide[differs]?.[i])) ?? 0
  return { kind, wrong: `kernel ${seed} (${kind}): buffer ${differs} has ${wide[differs]?.[at]} at ${at}, not ${plain[differs]?.[at]}` }
}
