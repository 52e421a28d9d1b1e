"""For `make lab`: a chapter saved unchanged leaves the tree clean."""


def forget_kernel_version(model, **_):
    """JupyterLab writes the running Python's version into every notebook that it saves."""
    if model["type"] == "notebook":
        metadata = model["content"]["metadata"]
        metadata["language_info"] = {"name": metadata.get("language_info", {}).get("name", "python")}


c = get_config()  # given by Jupyter
c.ContentsManager.pre_save_hook = forget_kernel_version
