/** What people see of a run: the bar, the lines, the page. */
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { Progress, formatTime } from '../../cli/progress.ts'
import type { ProgressState } from '../../cli/progress.ts'
import { lossCurve, renderReport, smooth } from '../../cli/report.ts'

test('times', () => {
  expect([0, 7.4, 125, 5025, Infinity, Number.NaN].map(formatTime)).toEqual(['0:00', '0:07', '2:05', '1:23:45', '-:--', '-:--'])
})

describe('progress', () => {
  const state: ProgressState = { step: 5, steps: 10, loss: 0.25, imagesPerSecond: 321.6, left: 65 }
  const text = 'step  5/10  loss 0.2500  322 images/s  1:05 left'

  function shown(isTTY: boolean, columns: number, act: (progress: Progress) => void): string {
    let written = ''
    act(new Progress({ isTTY, columns, write: (part: string) => (written += part) }))
    return written
  }

  test('is a line now and then where there is no terminal', () => {
    expect(shown(false, 80, (p) => {
      p.update(state)
      p.update(state) // too soon
      p.update({ ...state, step: 10 }, true)
      p.line('done')
    })).toBe(`${text}\nstep 10/10  loss 0.2500  322 images/s  1:05 left\ndone\n`)
  })

  test('is a bar that is drawn over itself on a terminal, and never wraps', () => {
    expect(shown(true, 80, (p) => {
      p.update(state)
      p.line('done')
    })).toBe(`\r\u{1b}[2K[██████████████··············] ${text}\ndone\n`)
    expect(shown(true, 30, (p) => p.update(state))).toBe(`\r\u{1b}[2K${text.slice(0, 30)}`)
    expect(shown(true, 0, (p) => p.update(state))).toBe(shown(true, 80, (p) => p.update(state)))
  })

  describe('of what is waited for', () => {
    beforeEach(() => void vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval', 'performance'] }))
    afterEach(() => void vi.useRealTimers())

    const wait = (p: Progress): void => {
      p.wait(() => 'the first step')
      p.compiled(3, 7)
      vi.advanceTimersByTime(6000)
      p.compiled(7, 7)
      vi.advanceTimersByTime(6000)
    }

    test('is a line now and then, until there is a step', () => {
      expect(shown(false, 80, (p) => {
        wait(p)
        p.update(state)
        vi.advanceTimersByTime(60_000)
      })).toBe(`the first step: 3 of 7 launches compiled, 0:05\nthe first step, 0:10\n${text}\n`)
    })

    test('is drawn over itself on a terminal, until a line says something else', () => {
      const parts = shown(true, 80, (p) => {
        wait(p)
        p.line('done')
        vi.advanceTimersByTime(60_000)
      }).split('\r\u{1b}[2K')
      expect(parts.length).toBeGreaterThan(50)
      expect([parts[0], parts[1], parts.at(-1)]).toEqual(['', 'the first step: 3 of 7 launches compiled, 0:00', 'the first step, 0:12\ndone\n'])
    })

    test('is nothing where it is there soon', () => {
      expect(shown(false, 80, (p) => {
        p.wait(() => 'the first step')
        vi.advanceTimersByTime(4000)
        p.update(state)
        p.end()
      })).toBe(`${text}\n`)
    })
  })
})

describe('the page', () => {
  test('smooths by the mean of equal windows', () => {
    expect(smooth([1, 3, 5, 7, 9], 3)).toEqual([{ step: 1.5, loss: 2 }, { step: 3.5, loss: 6 }, { step: 5, loss: 9 }])
    expect(smooth([4, 2], 10)).toEqual([{ step: 1, loss: 4 }, { step: 2, loss: 2 }])
    expect(smooth([], 10)).toEqual([])
  })

  test('draws the loss on a logarithmic scale within its frame', () => {
    const svg = lossCurve([1, 0.1, 0.01])
    expect(svg).toContain('<polyline class="each" points="56.0,12.0 382.0,130.0 708.0,248.0"/>')
    expect(svg).toContain('>0.05</text>')
    expect(svg).toContain('step 3')
    expect(lossCurve([1])).toBe('<p>Too few steps for a curve.</p>')
    expect(lossCurve([0.5, 0.5])).not.toContain('NaN')
  })

  test('escapes what it is told and holds its pictures', () => {
    const page = renderReport({ name: 'a<b>"&', step: 1, steps: 2, seconds: 3, device: 'x', losses: [1, 2], settings: [['k', '<v>']], pictures: [{ title: 'T', png: Uint8Array.of(1, 2, 3) }] })
    expect(page).toContain('<h1>a&lt;b&gt;&quot;&amp;</h1>')
    expect(page).toContain('<td>&lt;v&gt;</td>')
    expect(page).toContain('src="data:image/png;base64,AQID"')
    expect(page).toContain('1 of 2 steps, 0:03 of training, loss 1.5000 (mean of the last 2 steps)')
  })
})
