// WCAG contrast of all text that is on the page, computed in the page.

/** Texts below 4.5:1 (3:1 if large), with what they have. */
export function tooFaint(page) {
  return page.evaluate(() => {
    const colour = (text) => {
      const [r, g, b, a = 1] = text.match(/[\d.]+/g).map(Number);
      return { r, g, b, a };
    };
    const light = ({ r, g, b }) => {
      const [x, y, z] = [r, g, b].map((part) => (part /= 255) <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
      return 0.2126 * x + 0.7152 * y + 0.0722 * z;
    };
    const ground = (node) => {
      for (let at = node; at; at = at.parentElement) {
        const found = colour(getComputedStyle(at).backgroundColor);
        if (found.a === 1) return found;
      }
      return { r: 255, g: 255, b: 255 };
    };
    const faint = [];
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
      const node = walker.currentNode.parentElement;
      if (!walker.currentNode.data.trim() || !node.checkVisibility() || node.closest("noscript, option")) continue;
      const style = getComputedStyle(node);
      const text = colour(node instanceof SVGElement ? style.fill : style.color);
      const [a, b] = [light(text), light(ground(node))].sort((a, b) => b - a);
      const ratio = (a + 0.05) / (b + 0.05);
      const large = parseFloat(style.fontSize) >= 24;
      if (ratio < (large ? 3 : 4.5)) faint.push(`${ratio.toFixed(2)} ${node.tagName} ${walker.currentNode.data.trim()}`);
    }
    return faint;
  });
}
