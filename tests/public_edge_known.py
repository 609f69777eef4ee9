"""What the fuzz of the public edge knows to be open: function -> its arguments, to be emptied."""

KNOWN = {
    "chainrule.xray.xray": "f cotangent",
    "chainrule.xray.Report.to_svg": "open",
    "chainrule.xray.Report.to_html": "open",
    "chainrule.xray.Report.node": "name",
    "chainrule.xray.Report.open": "node",
}
