/**
 * Gradient of group norm (with SiLU if fused). With x̂ = (x − μ)·rstd, z = x̂·w + b and dz the
 * gradient at z (dy, or dy·silu′(z) with silu′ = σ(z)·(1 + z·(1 − σ(z)))):
 *   dbias[c] = Σ dz,  dweight[c] = Σ dz·x̂,  and over each group, with means of g = dz·w,
 *   dx = rstd·(g − mean(g) − x̂·mean(g·x̂)), where the means are Σ_c w·dbias and Σ_c w·dweight over the count.
 *
 * Items are those of the forward kernel, and make two passes: the first gives the sums per channel
 * (and leaves dz in dx if there is a SiLU to undo), the second dx. Sums stay per sample; the caller
 * adds them over the batch.
 */
import { type Code, f32, f32x4, i32, type Local, set } from '../core/assembler.ts'
import type { GroupNormGradDescriptor } from '../../ir/descriptor.ts'
import { Arguments } from '../core/arguments.ts'
import { channelSweep, layoutOf } from './channelSweep.ts'
import { GroupItems, samplePlane } from './groupNorm.ts'
import type { WasmKernel, WasmTarget } from '../core/kernel.ts'
import { Lanes } from '../core/lanes.ts'

/** Inputs dy, x, weight [C], bias [C], mean [N, G], rstd [N, G]; outputs dx, dweight [N, C], dbias [N, C]. */
export function groupNormGradKernel(options: GroupNormGradDescriptor, target: WasmTarget): WasmKernel {
  const { batch, channels, spatial, silu } = options
  const layout = layoutOf(channels, spatial, [options.dy, options.x, options.dx])
  const args = new Arguments()
  const [dy, x, dx] = [samplePlane(args, 0, options.dy), samplePlane(args, 1, options.x), samplePlane(args, 6, options.dx)]
  const [weight, bias, mean, rstd] = [args.buffer(2), args.buffer(3), args.buffer(4), args.buffer(5)]
  const [dweight, dbias] = [args.buffer(7), args.buffer(8)]
  const items = new GroupItems(args, options, 5)
  const elements = batch * channels * spatial
  return {
    key: `groupNormGrad ${layout}${silu ? ' silu' : ''}${target.relaxed ? ' relaxed' : ''}`,
    args: args.list,
    items: elements === 0 ? 0 : items.items,
    scratchBytes: items.scratchBytes,
    flops: elements * (silu ? 45 : 12),
    bytes: elements * (silu ? 20 : 12),
    build() {
      const f = args.open()
      const lanes = new Lanes(f, target.relaxed)
      const [biasSums, weightSums] = [f.local('i32'), f.local('i32')]
      const [m, r, first, second] = [f.local('f32'), f.local('f32'), f.local('f32'), f.local('f32')]
      const code = items.each(f, (place, array) => {
        const [means, rstds, a, b, scales] = [array(), array(), array(), array(), array()]
        const [upstream, input, output] = [dy(f, place.n), x(f, place.n), dx(f, place.n)]
        const sweep = { layout, spill: items.spill, from: place.from, to: place.to, spatial: items.spatial, planes: [upstream.plane, input.plane, output.plane] }
        const row = (array: Local): Code => i32.add(array, i32.mul(i32.mul(place.n, items.channels), 4))
        const statistic = (array: Local, group: Code): Code => f32.load(i32.add(array, i32.mul(group, 4)))
        const count = f32.reinterpretI32(items.count)
        return [
          upstream.locate, input.locate, output.locate,
          set(biasSums, row(dbias)), set(weightSums, row(dweight)),
          items.eachGroup(f, place, (at, group) => [
            [set(m, statistic(mean, group)), set(r, statistic(rstd, group))],
            [f32.store(at(means), m), f32.store(at(rstds), r), f32.store(at(biasSums), 0), f32.store(at(weightSums), 0)],
          ]),
          channelSweep(f, lanes, {
            ...sweep, reads: [0, 1], constants: silu ? [means, rstds, weight, bias] : [means, rstds], sums: [biasSums, weightSums],
            body(value, constant) {
              const [hat, z, sigma, dz] = [lanes.temporary(), lanes.temporary(), lanes.temporary(), lanes.temporary()]
              const g = value(0)
              const setHat = set(hat, f32x4.mul(f32x4.sub(value(1), constant(0)), constant(1)))
              if (!silu) return { setup: setHat, terms: [g, f32x4.mul(g, hat)] }
              const setup = [
                setHat,
                set(z, lanes.madd(hat, constant(2), constant(3))),
                set(sigma, lanes.sigmoid(z)),
                set(dz, f32x4.mul(f32x4.mul(g, sigma), lanes.madd(z, f32x4.sub(lanes.f32(1), sigma), lanes.f32(1)))),
              ]
              return { setup, stores: [[2, dz]], terms: [dz, f32x4.mul(dz, hat)] }
            },
          }),
          // dx = dz·(rstd·w) − (x − μ)·(rstd²·mean(g·x̂)) − rstd·mean(g)
          items.eachGroup(f, place, (at, group) => [
            [set(first, 0), set(second, 0), set(r, statistic(rstd, group))],
            [
              set(first, f32.add(first, f32.mul(f32.load(at(weight)), f32.load(at(biasSums))))),
              set(second, f32.add(second, f32.mul(f32.load(at(weight)), f32.load(at(weightSums))))),
            ],
            [set(first, f32.mul(r, f32.div(first, count))), set(second, f32.mul(f32.mul(r, r), f32.div(second, count)))],
            [f32.store(at(scales), f32.mul(r, f32.load(at(weight)))), f32.store(at(a), first), f32.store(at(b), second)],
          ]),
          channelSweep(f, lanes, {
            ...sweep, reads: silu ? [1, 2] : [0, 1], constants: [means, scales, a, b], sums: [],
            body(value, constant) {
              const centred = lanes.madd(f32x4.sub(constant(0), value(1)), constant(3), f32x4.mul(value(silu ? 2 : 0), constant(1)))
              return { stores: [[2, f32x4.sub(centred, constant(2))]] }
            },
          }),
        ]
      })
      f.emit(lanes.setup, code)
      return f
    },
  }
}
