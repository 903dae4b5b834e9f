// Elements and their text. Whatever a server says of itself becomes text here and nowhere markup.

/** An element with attributes and children; a child that is no node is text. */
export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) set(node, name, value);
  node.append(...children);
  return node;
}

const SVG = "http://www.w3.org/2000/svg";

/** The same in a drawing. */
export function svg(tag, attributes = {}, ...children) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) set(node, name, value);
  node.append(...children);
  return node;
}

/** Sets an attribute if it is another; null takes it away. */
export function set(node, name, value) {
  if (value === null || value === false) {
    if (node.hasAttribute(name)) node.removeAttribute(name);
    return;
  }
  const text = value === true ? "" : String(value);
  if (node.getAttribute(name) !== text) node.setAttribute(name, text);
}

/** Sets the text if it is another: what is the same is not drawn again, and not read out again. */
export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export const find = (id) => document.getElementById(id);

/**
 * Makes the children of a node those of a list, in its order: those with a key that is there already stay what they are.
 * make(item) gives a new node, update(node, item) fills it in.
 */
export function keyed(parent, items, keyOf, make, update) {
  const old = new Map();
  for (const node of parent.children) old.set(node.key, node);
  let next = parent.firstElementChild;
  for (const item of items) {
    const key = keyOf(item);
    let node = old.get(key);
    if (node) old.delete(key);
    else {
      node = make(item);
      node.key = key;
    }
    update(node, item);
    if (node === next) next = next.nextElementSibling;
    else parent.insertBefore(node, next);
  }
  for (const node of old.values()) node.remove();
}
