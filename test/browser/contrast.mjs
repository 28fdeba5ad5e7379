// contrast.mjs: whether every word on the page can be read (WCAG 2.2, 1.4.3: 4.5 to 1).

const RATIO_MIN = 4.5;

/** The words that are too faint, each with its ratio; what is switched off does not count. */
export function faint(page) {
  return page.evaluate(ratioMin => {
    const canvas = Object.assign(document.createElement('canvas'), {width: 1, height: 1});
    const pixel = canvas.getContext('2d', {willReadFrequently: true});

    /** Any CSS colour as [red, green, blue, alpha]. */
    function rgba(colour) {
      pixel.clearRect(0, 0, 1, 1);
      pixel.fillStyle = colour;
      pixel.fillRect(0, 0, 1, 1);
      const [red, green, blue, alpha] = pixel.getImageData(0, 0, 1, 1).data;
      return [red, green, blue, alpha / 255];
    }

    function over([red, green, blue, alpha], under) {
      return [red, green, blue].map((value, index) => value * alpha + under[index] * (1 - alpha)).concat(1);
    }

    function luminance(colour) {
      const [red, green, blue] = colour.map(value => {
        const part = value / 255;
        return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
      });
      return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
    }

    /** The background behind an element: all it lies on, from the page up; of a pattern its first colour. */
    function ground(element) {
      const layers = [];
      for (let at = element; at; at = at.parentElement) {
        const {backgroundImage, backgroundColor} = getComputedStyle(at);
        layers.unshift(rgba(/(rgba?|color|oklab)\([^)]*\)/.exec(backgroundImage)?.[0] ?? backgroundColor));
      }
      return layers.reduce((under, layer) => over(layer, under), [255, 255, 255, 1]);
    }

    function opacity(element) {
      return element ? Number(getComputedStyle(element).opacity) * opacity(element.parentElement) : 1;
    }

    function ratio(element) {
      const under = ground(element);
      const [red, green, blue, alpha] = rgba(getComputedStyle(element).color);
      const text = over([red, green, blue, alpha * opacity(element)], under);
      const [darker, lighter] = [luminance(text), luminance(under)].sort((one, other) => one - other);
      return (lighter + 0.05) / (darker + 0.05);
    }

    const words = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    const found = [];
    while (words.nextNode()) {
      const element = words.currentNode.parentElement;
      const text = words.currentNode.data.trim();
      if (!text || !element.checkVisibility() || element.closest('.sr, noscript, option, :disabled')) continue;
      if (ratio(element) < ratioMin) found.push(`${ratio(element).toFixed(1)} ${text.slice(0, 30)}`);
    }
    return found;
  }, RATIO_MIN);
}
