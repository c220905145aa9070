/** First and second derivatives against central differences, in float64 on the reference device. */
import { expect } from 'vitest'
import { tensor } from '../../engine/create.ts'
import type { Device } from '../../engine/device/device.ts'
import { grad } from '../../engine/grad.ts'
import type { Tensor } from '../../engine/graph.ts'
import { add, mul } from '../../engine/ops/elementwise.ts'
import { sum } from '../../engine/ops/reduce.ts'
import { readData, readItem } from '../../engine/realize.ts'
import { sizeOf } from '../../engine/shape.ts'
import { uniform } from '../oracle-cases.ts'

/** Reproducible values in (lo, hi). */
export function values(device: Device, shape: readonly number[], stream: number, lo = -1, hi = 1): Tensor {
  return tensor(Float64Array.from({ length: sizeOf(shape) }, (_, i) => lo + (hi - lo) * uniform(stream, i)), shape, { dtype: 'f64', device })
}

type Function = (...inputs: Tensor[]) => Tensor | readonly Tensor[]

/** Weights all results differently, so that no error cancels. */
function weigh(results: Tensor | readonly Tensor[], device: Device): Tensor {
  const list = 'node' in results ? [results] : results
  return list.map((t, i) => sum(mul(t, values(device, t.shape, 900 + i)))).reduce((a, b) => add(a, b))
}

/** Checks the directional derivative of `fn` along a random direction, and then that of its gradient. */
export async function checkGradients(device: Device, fn: Function, inputs: readonly Tensor[], orders = 2): Promise<void> {
  const directions = inputs.map((x, i) => values(device, x.shape, 700 + i))
  const along = (f: (...xs: Tensor[]) => Tensor) => (...xs: Tensor[]): Tensor => grad(f(...xs), xs, { unreached: 'zeros' }).map((g, i) => sum(mul(g, directions[i] ?? g))).reduce((a, b) => add(a, b))
  let f = (...xs: Tensor[]): Tensor => weigh(fn(...xs), device)
  for (let order = 1; order <= orders; order++) {
    const h = order === 1 ? 1e-5 : 1e-4
    const moved = async (step: number): Promise<number> => {
      const points = await Promise.all(inputs.map(async (x, i) => {
        const [a, d] = [await readData(x), await readData(directions[i] ?? x)]
        return tensor(Float64Array.from(a, (v, k) => v + step * (d[k] ?? 0)), x.shape, { dtype: 'f64', device })
      }))
      return readItem(f(...points))
    }
    const expected = ((await moved(h)) - (await moved(-h))) / (2 * h)
    const derivative = along(f)
    const got = await readItem(derivative(...inputs))
    expect(Math.abs(got - expected), `order ${order}: ${got}, differences ${expected}`).toBeLessThanOrEqual(1e-6 * Math.max(1, Math.abs(expected)))
    f = derivative
  }
}
