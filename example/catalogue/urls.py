"""The pages of the shop, then the views that put a server to the test."""

from __future__ import annotations

from django.urls import path

from catalogue import views

app_name = "catalogue"

urlpatterns = [
    path("", views.BookList.as_view(), name="books"),
    path("books/<int:pk>/", views.BookDetail.as_view(), name="book"),
    path("books/<int:pk>/buy/", views.buy, name="buy"),
    path("upload/<int:pk>/", views.CoverUpload.as_view(), name="upload"),
    path("slow/", views.slow, name="slow"),
    path("count/", views.count, name="count"),
    path("stream/", views.stream, name="stream"),
    path("echo/", views.echo, name="echo"),
    path("boom/", views.boom, name="boom"),
]
