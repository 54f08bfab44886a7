// The widget of a live chart: shows the picture that comes, and has a button to pause.
function render({ model, el }) {
  const box = document.createElement("div");
  const button = document.createElement("button");
  button.style.cssText = "font:12px system-ui,sans-serif;margin:2px 6px;padding:1px 10px;color:inherit;" +
    "background:rgba(128,128,128,.15);border:1px solid rgba(128,128,128,.4);border-radius:4px;cursor:pointer";
  const draw = () => { box.innerHTML = model.get("html"); };
  const label = () => { button.textContent = model.get("paused") ? "Go on" : "Pause"; };
  button.addEventListener("click", () => { model.set("paused", !model.get("paused")); model.save_changes(); });
  model.on("change:html", draw);
  model.on("change:paused", label);
  draw(); label();
  el.style.color = "var(--jp-ui-font-color1, inherit)";
  el.append(box, button);
}
export default { render };
